"""Which process on which machine this is, and as which job of which scheduler: for locks, logs and journals."""

import os
import socket
from datetime import datetime


def whereabouts() -> dict[str, str | int]:
    """host and pid; under SLURM also `job` (its number); where a scheduler dealt out GPUs also `devices`."""
    found: dict[str, str | int] = {"host": socket.gethostname(), "pid": os.getpid()}
    for key, variable in (("job", "SLURM_JOB_ID"), ("devices", "CUDA_VISIBLE_DEVICES")):
        if os.environ.get(variable):
            found[key] = os.environ[variable]
    return found


def describe(place: dict[str, str | int]) -> str:
    """Such as `process 41 on node3 (SLURM job 7, GPU 0)`."""
    details = [f"{word} {place[key]}" for key, word in (("job", "SLURM job"), ("devices", "GPU")) if key in place]
    return f"process {place['pid']} on {place['host']}" + (f" ({', '.join(details)})" if details else "")


def now() -> str:
    """Local time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
