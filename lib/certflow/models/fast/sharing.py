"""The images of a batch shared out to threads that run C code of ours, without Python's lock.

They are torch's own threads where OpenMP has them: those spin while they wait for work, and threads of another pool would have
to share the cores with them.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import torch

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Task = Callable[[int, int], None]
"""What each thread does, told its number and how many there are."""
PROCESS = os.getpid()
"""Threads do not live on in a child of it: OpenMP would wait for them for ever, and a pool is made anew."""


def threads_for(most: int) -> int:
    """As many as torch has, but no more than there is work for."""
    return max(1, min(torch.get_num_threads(), most))


def share(threads: int, work: Callable[..., None], *parts: torch.Tensor | Sequence[torch.Tensor | None]) -> None:
    """`work` on the parts that stand at the same place of each of `parts`, on so many threads: this one and others."""
    places = list(zip(*parts, strict=True))
    if threads == 1:
        for place in places:
            work(*place)
        return
    done: list[int] = []
    errors: list[BaseException] = []

    def task(thread: int, of: int) -> None:
        try:
            for place in range(thread, len(places), of):
                work(*places[place])
                done.append(place)
        except BaseException as error:
            errors.append(error)

    openmp = _openmp() if os.getpid() == PROCESS else None
    if openmp is None:
        _on_ours(threads, task)
    else:
        _on_torchs(openmp, task)
    if errors:
        raise errors[0]
    if len(done) < len(places):  # an interruption between the start of `task` and its `try`
        raise KeyboardInterrupt


def _on_torchs(openmp: ctypes.CDLL, task: Task) -> None:
    """`task` on all of torch's threads: OpenMP ends threads that one call leaves out, and starts others for the next."""
    start = CALLBACK(lambda _: task(openmp.omp_get_thread_num(), openmp.omp_get_num_threads()))
    openmp.GOMP_parallel(start, None, torch.get_num_threads(), 0)


def _on_ours(threads: int, task: Task) -> None:
    """`task` on this thread and those of a pool."""
    others = [_pool(os.getpid(), threads - 1).submit(task, number, threads) for number in range(1, threads)]
    task(0, threads)
    wait(others)


@cache
def _openmp() -> ctypes.CDLL | None:
    """The library whose threads are torch's, which torch makes visible to the whole process; None where it has another kind."""
    process = ctypes.CDLL(None) if os.name == "posix" else None
    return process if hasattr(process, "GOMP_parallel") else None


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convolutions")
