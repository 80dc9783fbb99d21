"""The images of a batch shared out to threads that run C code of ours, without Python's lock."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

from certflow.errors import ConfigError


def threads_for(most: int) -> int:
    """As many as torch has, but no more than there is work for."""
    return max(1, min(torch.get_num_threads(), most))


def share(threads: int, work: Callable[..., None], *parts: torch.Tensor | Sequence[torch.Tensor | None]) -> None:
    """`work` on the parts that stand at the same place of each of `parts`, on so many threads."""
    places = zip(*parts, strict=True)
    if threads == 1:
        for place in places:
            work(*place)
    else:
        list(_pool(threads).map(lambda place: work(*place), places))


def require(functions: ctypes.CDLL | None, setting: str) -> None:
    """`ConfigError` where there is no compiler: what is computed must not depend on whether one is there."""
    if functions is None:
        raise ConfigError(
            [
                f"{setting}: needs a C compiler (cc, gcc or clang) on the PATH, and CERTFLOW_NATIVE must not be 0; install one "
                "or set it to false"
            ]
        )


def needed(functions: ctypes.CDLL | None) -> ctypes.CDLL:
    """The functions, whose users have asked before whether they are there."""
    if functions is None:
        raise ConfigError(["native: a compiled kernel is gone; run again"])
    return functions


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convolutions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a child
