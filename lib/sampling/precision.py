"""Which arithmetic the base classifier runs in. Precision is part of the classifier: other bits are another function."""

from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
MATRIX_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""CPU flags with which bfloat16 products are native. Without them bfloat16 is emulated, 2 to 9 times slower than float32."""

NATIVE_CAPABILITY = (8, 0)
"""GPUs older than this (V100, T4, RTX 2080) have no bfloat16 units."""


@cache
def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """The CPU's feature flags, empty where the system does not tell."""
    try:
        text = Path(path).read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def resolve(
    precision: str,
    device: str,
    *,
    flags: frozenset[str] | None = None,
    capability: tuple[int, int] | None = None,
) -> Precision:
    """What `auto` means on a device (`cpu`, `cuda:1`): bfloat16 where it is native, else float32; others stand for themselves.

    flags, capability: those of the CPU and of the GPU, asked for where they are needed and not given.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if (capability or _capability(device)) >= NATIVE_CAPABILITY else "float32"
    return "bfloat16" if MATRIX_FLAGS & (cpu_flags() if flags is None else flags) else "float32"


def _capability(device: str) -> tuple[int, int]:
    import torch

    return torch.cuda.get_device_capability(device)
