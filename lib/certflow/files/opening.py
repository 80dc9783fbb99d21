"""Opening files whose names can be guessed, in folders where other users may write: never through what one of them put there.

A results folder may belong to a team. Whoever can write to it can make a link there, under the name of a file that is about to
be written, and the writer, who may have more rights, would overwrite what the link leads to.
"""

import errno
import os
import stat
from pathlib import Path

from certflow.errors import ArtefactError
from certflow.files.intact import brief
from certflow.files.private import OTHERS, looked_up, trusted

TRIES = 10
SYSTEM = ("/dev/", "/proc/", "/sys/")
"""Folders whose entries are not files of anybody's."""
SHARED_MEMORY = "/dev/shm/"
"""The exception among them: files may be put there."""


def open_plain(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """`os.open` of a regular file with one name; ArtefactError where there is a link, a pipe, a device, or a second name.

    Other failures are OSErrors, as of `os.open`. Never waits for the other end of a pipe.
    """
    require_no_planted_link(path)
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _planted(path, "a link, a pipe or a device") from error
        raise
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return handle
    os.close(handle)
    raise _planted(path, "a file with a second name" if stat.S_ISREG(status.st_mode) else "not a regular file")


def create_new(path: str | Path) -> None:
    """Make an empty file; what has its name already is removed, be it a file or a link (not what the link leads to)."""
    require_no_planted_link(path)
    for _ in range(TRIES):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
            return
        except FileExistsError:
            Path(path).unlink(missing_ok=True)
    raise _planted(path, "a file that comes back whenever it is removed")


def require_place(path: str | Path) -> None:
    """ArtefactError where no file can be put at `path`: what is there is a folder, a device or a pipe, or it has no name.

    Writing replaces what was there. A device, or an entry of a system folder such as /dev/stdout, must not be replaced: the
    whole machine would miss it.
    """
    path = Path(path)
    try:
        around = f"{os.path.realpath(path.parent)}/"
        systems = around.startswith(SYSTEM) and not around.startswith(SHARED_MEMORY)
        there = None if path.name == "" or systems else path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # whoever makes the folder says so
        return
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{str(path)[:200]}: cannot be written ({brief(error)}); name another file") from error
    if there is None or not stat.S_ISREG(there):
        raise ArtefactError(f"{path}: is a folder or a device, where no file can be put; name another file")


def require_no_planted_link(path: str | Path) -> None:
    """Refuse a way to `path` through a link that a user who does not own the folder around it has put there.

    Links of this user, of the system, and of the folder's owner are followed: those decide anyway what is in the folder.
    """
    path = Path(path)
    try:
        ways = list(looked_up(path.parent))
    except FileNotFoundError:  # the folder is not there; whoever opens the file says so
        return
    for entry, status in ways:
        if not stat.S_ISLNK(status.st_mode) or trusted(status.st_uid):
            continue
        around = entry.parent.lstat()
        if around.st_mode & OTHERS and around.st_uid != status.st_uid:
            raise _planted(entry, "a link of another user, in a folder that is not theirs")


def _planted(path: str | Path, what: str) -> ArtefactError:
    return ArtefactError(f"{path}: is {what}, which certflow has not put there; look at it, remove it, and run again")
