"""Let the C library keep the memory that a forward pass frees, instead of handing it back to the system every time.

A layer's output of some megabytes is allocated and freed for every batch. By default glibc returns such blocks to the system
and gets them back as fresh, zeroed pages: 17 to 20 % of the time of a CIFAR ResNet on the CPU.
"""

import ctypes
import os
import sys
from functools import cache

from certflow.machine.held import Held

ALLOCATOR = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables by which somebody has set the allocator; `memory_kept` then leaves it alone."""

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT = 1 << 30
"""Blocks up to this many bytes are kept for reuse."""
DEFAULT_LARGEST_KEPT = 1 << 25
"""What glibc's own limit grows to."""


@cache
def keep_freed_memory() -> bool:
    """Set this process's allocator so, once; False where the C library is not glibc. Results cannot depend on it."""
    return _keep(LARGEST_KEPT)


def freed_memory_is_kept() -> bool:
    """Whether `keep_freed_memory` was called, and not taken back since."""
    return keep_freed_memory.cache_info().currsize > 0


def restore_default() -> bool:
    """Set the allocator to what an untouched process arrives at by itself, for fair measurements."""
    keep_freed_memory.cache_clear()
    return _keep(DEFAULT_LARGEST_KEPT)


def _keep(size: int) -> bool:
    """Keep blocks of up to `size` bytes, and up to twice as much free memory in all."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, size) and mallopt(M_TRIM_THRESHOLD, min(2 * size, 2**31 - 1)))


def _keep_unless_set() -> None:
    if not any(os.environ.get(name) for name in ALLOCATOR):
        keep_freed_memory()


def _restore(kept: bool) -> None:
    if freed_memory_is_kept() and not kept:
        restore_default()


memory_kept = Held(freed_memory_is_kept, _keep_unless_set, _restore)
"""For a sampling or a training: freed memory is kept meanwhile."""
