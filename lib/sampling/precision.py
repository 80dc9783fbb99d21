"""Which arithmetic the base classifier runs in. Precision is part of the classifier: other bits are another function."""

from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
MATRIX_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""CPU flags with which bfloat16 products are native. Without them bfloat16 is emulated, 2 to 9 times slower than float32."""


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


def resolve(precision: str, device_type: str, flags: frozenset[str] | None = None) -> Precision:
    """What `auto` means on a device: bfloat16 where it is native, else float32; any other value stands for itself."""
    if precision != "auto":
        return precision
    if device_type == "cuda":
        return "bfloat16"
    return "bfloat16" if MATRIX_FLAGS & (cpu_flags() if flags is None else flags) else "float32"
