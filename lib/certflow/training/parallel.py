"""One training on several devices of a machine: a process for each, which share each mini-batch (`certflow.training.ranks`)."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from certflow.errors import CertflowError
from certflow.training.ranks import Ranks


def run_parallel(function: Callable[..., None], devices: Sequence[str], arguments: dict[str, Any]) -> None:
    """Call `function(ranks=..., device=..., **arguments)` in one fresh process for each of at least two devices, and wait.

    function and arguments are pickled. Processes on CUDA devices talk through NCCL, others through gloo; all on the loopback
    interface. This process's threads are shared out. A certflow error in any of them is raised here; any failure ends all.
    """
    threads = max(1, torch.get_num_threads() // len(devices))
    context = torch.multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="certflow-") as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        passed = (function, list(devices), arguments, threads, meeting, failures)
        try:
            torch.multiprocessing.spawn(_worker, passed, nprocs=len(devices))
        except torch.multiprocessing.ProcessExitedException as error:
            if failures.empty():
                raise CertflowError(f"a process of a training on {len(devices)} devices ended: {error}") from error
            raise failures.get() from None


def _worker(
    rank: int,
    function: Callable[..., None],
    devices: list[str],
    arguments: dict[str, Any],
    threads: int,
    meeting: str,
    failures: Any,
) -> None:
    """The life of one process. A certflow error is sent to the parent, which raises it."""
    device = torch.device(devices[rank])
    torch.set_num_threads(threads)
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, "lo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=len(devices))
    try:
        function(ranks=Ranks(rank, len(devices)), device=device, **arguments)
    except CertflowError as error:
        failures.put(error)
        os._exit(1)  # at once: a farewell to processes that still wait for this one would wait, too
    torch.distributed.destroy_process_group()
