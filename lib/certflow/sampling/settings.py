"""What the engine needs set for the whole process while it works (`certflow.machine.held` gives it back afterwards)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from certflow.machine.held import Held
from certflow.machine.memory import memory_kept

PARENTS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
"""Where torch looks for an operation's precision that is `none`, from the most general on."""
OPERATIONS = tuple((backend, part) for backend in ("cuda", "mkldnn") for part in ("matmul", "conv", "rnn"))


def exact_arithmetic() -> None:
    """No TF32 nor bfloat16 in its place, no timing-based choice of algorithms: float32 means float32, runs are repeatable.

    Torch has an older and a newer way to say so. Both must agree, or torch refuses to tell; and the older one alone leaves
    convolutions at what the newer one says of all operations.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for backend, part in OPERATIONS:
        torch._C._set_fp32_precision_setter(backend, part, "ieee")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.set_default_dtype(torch.float32)


def _read_arithmetic() -> dict[str, Any]:
    """Everything that `exact_arithmetic` changes.

    What torch tells of an operation is what it takes from a more general setting where it has none of its own; so these are
    noted and cleared first, and the older way is asked when nothing contradicts it.
    """
    others = {
        "benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.backends.cudnn.deterministic,
        "dtype": torch.get_default_dtype(),
    }
    levels = {}
    for backend, part in (*PARENTS, *OPERATIONS):
        levels[backend, part] = torch._C._get_fp32_precision_getter(backend, part)
        torch._C._set_fp32_precision_setter(backend, part, "none" if part == "all" else "ieee")
    return {**others, "levels": levels, "matmul": torch.get_float32_matmul_precision(), "tf32": _cudnn_tf32()}


def _cudnn_tf32() -> bool:
    """The older setting of convolutions; torch refuses to tell it where the newer one, now `ieee`, says otherwise."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True


def _restore_arithmetic(found: dict[str, Any]) -> None:
    torch.set_float32_matmul_precision(found["matmul"])
    torch.backends.cudnn.allow_tf32 = found["tf32"]
    for (backend, part), value in found["levels"].items():
        torch._C._set_fp32_precision_setter(backend, part, value)
    torch.backends.cudnn.benchmark = found["benchmark"]
    torch.backends.cudnn.deterministic = found["deterministic"]
    torch.set_default_dtype(found["dtype"])


def _read_compiler() -> tuple[bool, bool]:
    from torch._inductor import config

    return config.freezing, config.deterministic


def _restore_compiler(found: tuple[bool, bool]) -> None:
    from torch._inductor import config

    config.freezing, config.deterministic = found


compiler_settings = {
    # Weights that cannot change are folded into the code on a CPU; no choice by timing that changes last bits on a GPU.
    "cpu": Held(_read_compiler, partial(_restore_compiler, (True, False)), _restore_compiler),
    "cuda": Held(_read_compiler, partial(_restore_compiler, (False, True)), _restore_compiler),
}
"""By type of device, for every call of a function that `torch.compile` made: it compiles when it is called."""


_arithmetic = Held(_read_arithmetic, exact_arithmetic, _restore_arithmetic)


@contextmanager
def engine_settings() -> Iterator[None]:
    """Exact arithmetic, memory that is kept, no automatic mixed precision: for every call of a network that is certified."""
    with ExitStack() as stack:
        stack.enter_context(_arithmetic())
        stack.enter_context(memory_kept())
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield
