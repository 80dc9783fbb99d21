"""Files under way: what is written beside its destination first, and what a kill in the middle of that leaves behind.

The name `<file>.<host>.<process>.part` says which process writes it. A process id has a meaning on its own host only. A process
therefore never deletes another host's file as abandoned, unless it holds the lock that keeps all others from writing.
"""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDING = ".part"


def part_path(path: str | Path) -> Path:
    """Where this process writes `path` before it is whole: on the same file system, so that it can be renamed."""
    path = Path(path)
    return path.with_name(f"{path.name}{_of_here(os.getpid())}")


def new_part_folder(place: str | Path) -> Path:
    """A new folder in `place` that nobody else writes to, to be renamed when it is whole; a process may have several.

    Those that processes of this host have left there, which live no more, are removed.
    """
    for folder in Path(place).iterdir():
        match = re.fullmatch(rf"\w+{_of_here()}", folder.name)
        if match and not _lives(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)  # another user's, or removed by another process just now
    return Path(tempfile.mkdtemp(suffix=_of_here(os.getpid()), dir=place))


def remove_abandoned_parts(path: str | Path) -> None:
    """Remove what processes of this host that live no more have left of writing `path`."""
    for part in _parts(path):
        match = re.fullmatch(rf"{re.escape(Path(path).name)}{_of_here()}", part.name)
        if match and not _lives(int(match[1])):
            part.unlink(missing_ok=True)


def remove_parts(path: str | Path, *, locked: bool) -> None:
    """Remove all unfinished files of `path`, whoever began them, where the caller holds its lock (`locked`: what
    `certflow.files.lock.exclusive` yields); else only those that `remove_abandoned_parts` does, since others may be at work."""
    if not locked:
        remove_abandoned_parts(path)
        return
    for part in _parts(path):
        part.unlink(missing_ok=True)


def is_part_of(name: str, files: Iterable[str]) -> bool:
    """Whether this is the name of an unfinished file of one of `files`, whoever writes it."""
    return name.endswith(ENDING) and any(name.startswith(f"{file}.") for file in files)


def _parts(path: str | Path) -> Iterator[Path]:
    """Files beside `path` named like its unfinished ones. No glob: a name may hold characters that mean something there."""
    path = Path(path)
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return
    for name in names:
        if is_part_of(name, [path.name]):
            yield path.with_name(name)


def _of_here(process: int | None = None) -> str:
    """How names of what a process of this host writes end; without a process, the pattern of all such endings."""
    host = f".{socket.gethostname()}."
    return f"{re.escape(host)}(\\d+){re.escape(ENDING)}" if process is None else f"{host}{process}{ENDING}"


def _lives(process: int) -> bool:
    """Whether the process exists. A number given out anew keeps its old file for some time."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # the latter: no such number can be
        return False
    except PermissionError:  # another user's
        pass
    return True
