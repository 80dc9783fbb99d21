"""The images of a batch shared out to threads that run C code of ours, without Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


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


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convolutions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a child
