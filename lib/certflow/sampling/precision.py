"""Which arithmetic the base classifier runs in. Precision is part of the classifier: other bits are another function.

So it is stated in the configuration and the same on every device. What is asked of a device here only says how fast it will be.
"""

import copy
import time
from typing import TYPE_CHECKING

from certflow.machine.cpu import cpu_flags
from certflow.models.base import Precision

if TYPE_CHECKING:
    import torch

MATRIX_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""CPU flags with which bfloat16 products are native: two of x86-64, one of arm64. Without them bfloat16 is emulated, 2 to 9
times slower than float32."""

NATIVE_CAPABILITY = (8, 0)
"""GPUs older than this (V100, T4, RTX 2080) have no bfloat16 units."""
ROUNDS = 3


def bfloat16_is_native(device: "str | torch.device") -> bool:
    """Whether the device (`cpu`, `cuda:1`) has units for bfloat16."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_capability(device) >= NATIVE_CAPABILITY
    return bool(MATRIX_FLAGS & cpu_flags())


def remark(precision: Precision, network: "torch.nn.Module", x: "torch.Tensor") -> str | None:
    """What the log says of the stated precision on the device of `x`; None where there is nothing to say.

    network: as it is sampled; x: one batch [rows, *shape] of what it takes. Where bfloat16 would be native and is not used,
    both are timed on this batch.
    """
    native = bfloat16_is_native(x.device)
    if precision == "bfloat16" and not native:
        return f"{x.device.type} has no units for bfloat16: it is emulated here, with the same meaning and slower than float32"
    if precision != "float32" or not native:
        return None
    import torch

    from certflow.sampling.probing import first_line

    try:
        narrow = _seconds(copy.deepcopy(network).to(torch.bfloat16), x.to(torch.bfloat16))
    except Exception as error:  # a model may hold anything; what would have been is no reason to end a job
        return f"this device computes in bfloat16, the model as it is does not ({first_line(error)})"
    return (
        f"in bfloat16 a batch would take {narrow / _seconds(network, x):.0%} of its time here; that is another function, with "
        "other counts: `inference: {precision: bfloat16}` in the model's entry certifies it"
    )


def _seconds(network: "torch.nn.Module", x: "torch.Tensor") -> float:
    """The fastest of some forward passes, after one to warm up."""
    import torch

    times = []
    with torch.inference_mode():
        for _ in range(1 + ROUNDS):
            started = time.perf_counter()
            network(x).float().sum().item()  # reading a number waits for the device
            times.append(time.perf_counter() - started)
    return min(times[1:])
