"""Which devices a job works on: the ones its machine has, shared with the other jobs there.

A cluster's scheduler deals GPUs out to jobs itself. On one machine nobody does: Snakemake only counts them. There each job
takes free devices by holding a lock on a file for each, until it ends, however it ends.
"""

import fcntl
import os
import re
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from certflow.errors import ConfigError
from certflow.files.opening import open_plain
from certflow.files.private import cache_folders, first_private

VARIABLE = "CERTFLOW_DEVICE"
DEVICE = re.compile(r"cpu|cuda(:\d+)?")

_held: list[int] = []
"""Locks of this process: open files, released by the operating system at its end."""


def pool(cuda: int) -> list[str]:
    """All devices that jobs of this user may work on here: those of `$CERTFLOW_DEVICE` (such as `cpu` or `cuda:0,cuda:1`),
    else the `cuda` visible ones, else the CPU."""
    problems = device_problems()
    named = _named()
    if not problems:
        problems = [
            f"{VARIABLE}: {name} is not there; this machine has {cuda or 'no'} CUDA devices"
            for name in named
            if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= cuda
        ]
    if problems:
        raise ConfigError(problems, "environment")
    if named:
        return named
    return [f"cuda:{number}" for number in range(cuda)] or ["cpu"]


def device_problems() -> list[str]:
    """What is wrong with `$CERTFLOW_DEVICE`, whatever devices there are."""
    return [
        f"{VARIABLE}: {name!r} is not a device; write cpu, cuda, or such as cuda:0,cuda:1"
        for name in _named()
        if not DEVICE.fullmatch(name)
    ]


def _named() -> list[str]:
    named = os.environ.get(VARIABLE)
    return [name.strip() for name in named.split(",")] if named else []


def claim(devices: Sequence[str], count: int, folder: Path | None = None) -> list[str]:
    """`count` of the devices, free ones, locked until this process ends; all of them where there are no more than that.

    Where others hold too many, the rest is shared with them, with a line on stderr: results are the same, only slower.
    """
    if len(devices) <= count:
        return list(devices)
    place = first_private(_folders() if folder is None else [folder])
    free: list[int] = []
    for slot in range(len(devices)):
        if place and len(free) < count and _lock(place / _name(devices, slot)):
            free.append(slot)
    if len(free) < count:
        busy = [slot for slot in range(len(devices)) if slot not in free]
        start = os.getpid() % len(busy)
        free += (busy[start:] + busy[:start])[: count - len(free)]
        reason = f"more jobs than devices, or no locks in {place}: some share one (say how many: --resources gpu=...)"
        if place is None:
            reason = (
                "no folder of this user alone for locks on devices: jobs may share one (set TMPDIR to such a folder)"
            )
        print(reason, file=sys.stderr)
    return [devices[slot] for slot in free]


def _folders() -> list[Path]:
    """Where this user's jobs on this machine look for each other's locks, best first; another user may have taken a name."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    found = [Path(tempfile.gettempdir()) / f"certflow-devices-{os.getuid()}"]
    found += [runtime / "certflow-devices"] if runtime.is_absolute() else []
    return found + [folder / f"devices-{socket.gethostname()}" for folder in cache_folders()]


def _name(devices: Sequence[str], slot: int) -> str:
    """The lock of a device: by what it is on this machine, not by its number among those visible to this job."""
    device = devices[slot]
    kind, _, number = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if kind == "cuda" and number.isdigit() and int(number) < len(visible) and visible[int(number)]:
        return f"cuda-{visible[int(number)].replace('/', '-')}.lock"
    return f"{kind}-{number or slot}.lock"


def _lock(path: Path) -> bool:
    """Whether this process holds the lock now; not where another one does, nor on a disk that is full or knows no locks."""
    try:
        handle = open_plain(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    _held.append(handle)
    return True
