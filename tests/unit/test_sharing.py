"""A batch's parts on several threads: each part once, an error from any of them, and no threads beside torch's."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from certflow.models.fast import sharing

openmp = pytest.mark.skipif(sharing._openmp() is None, reason="torch's threads here are not OpenMP's")


@pytest.fixture(params=[pytest.param("torch's", marks=openmp), "ours"])
def pool(request, monkeypatch):
    """Threads of either kind, more than the machine may have cores."""
    if request.param == "ours":
        monkeypatch.setattr(sharing, "_openmp", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_each_part_is_worked_on_once(pool, threads):
    x, y = torch.arange(20.0).view(10, 2), torch.zeros(10, 2)

    def work(y, x, other):
        assert other is None
        y += x

    for repeats in range(1, 4):
        sharing.share(threads, work, y.tensor_split(threads), x.tensor_split(threads), [None] * threads)
        assert torch.equal(y, repeats * x)


def test_more_parts_than_threads(pool):
    """OpenMP may give fewer threads than it was asked for (OMP_THREAD_LIMIT, or within a thread of another team)."""
    done = []
    sharing.share(2, done.append, range(11))
    assert sorted(done) == list(range(11))


def test_threads_run_at_the_same_time(pool):
    together = threading.Barrier(3, timeout=60)
    sharing.share(3, lambda place: together.wait(), range(3))
    assert not together.broken


@pytest.mark.parametrize("place", [0, 2])
def test_an_error_of_any_thread_is_raised(pool, place):
    def work(number):
        if number == place:
            raise MemoryError("of one thread")

    with pytest.raises(MemoryError, match="of one thread"):
        sharing.share(3, work, range(3))
    done = []
    sharing.share(3, done.append, range(3))
    assert sorted(done) == [0, 1, 2]


def test_parts_that_nothing_was_done_with_are_noticed(monkeypatch):
    """As after an interruption that reaches a thread before its part: its outputs must not be taken for results."""
    monkeypatch.setattr(sharing, "_openmp", lambda: None)
    monkeypatch.setattr(sharing, "_on_ours", lambda threads, task: task(0, threads))
    with pytest.raises(KeyboardInterrupt):
        sharing.share(2, lambda place: None, range(2))


COUNT = """
import os, torch
from certflow.models.fast.sharing import share
torch.set_num_threads(3)
(torch.rand(1000, 1000) + 1).exp()
before = set(os.listdir("/proc/self/task"))
for threads in (3, 2, 3):
    share(threads, lambda place: None, range(threads))
    (torch.rand(1000, 1000) + 1).exp()
print(len(before), before == set(os.listdir("/proc/self/task")))
"""


@openmp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_no_threads_are_added_to_torchs_and_none_of_them_ends():
    ended = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert ended.stdout.split()[1] == "True", ended.stdout
