"""One writer at a time: an exclusive lock on a folder or on a file that is about to be written."""

import errno
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certflow.errors import ArtefactError, BusyError
from certflow.files.opening import open_plain
from certflow.files.printable import printable
from certflow.files.whereabouts import describe, now, whereabouts

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[bool]:
    """Hold the lock on `path` (a folder, or a file that need not exist yet) while the block runs; yields whether it is held.

    `what` says what is being done, in the words of the error message ("training"). Raises `BusyError`, naming host, process
    and starting time of the holder, when another process or another caller in this process holds the lock. The operating
    system releases the lock when its holder ends, however it ends, so that a killed job leaves nothing to clear. Where the
    file system knows no locks (some parallel ones), the block runs unlocked with a line on stderr and gets False: all writes
    are atomic and results deterministic, so that two writers there waste time but damage nothing, as long as neither
    removes what the other is writing (`certflow.files.parts.remove_parts`).

    In a folder that a team writes to, its members exclude each other too, and remove the lock that a colleague's killed job
    has left; a link under the lock's name is refused (`certflow.files.opening`).
    """
    lock = lock_path(path)
    handle, locked = _acquire(lock, what)
    try:
        yield locked
    finally:
        # Unlink before closing: whoever opened the old file meanwhile sees in `_acquire` that it is no longer the one.
        lock.unlink(missing_ok=True)
        os.close(handle)


def lock_path(path: str | Path) -> Path:
    """The file that is locked: `.lock` inside a folder, `.<name>.lock` beside a file."""
    path = Path(path)
    return path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")


def _locked(lock: Path) -> Path:
    """What a lock file is for: the folder that it lies in, or the file beside it."""
    name = lock.name.removesuffix(".lock").removeprefix(".")
    return lock.with_name(name) if name else lock.parent


def _acquire(lock: Path, what: str) -> tuple[int, bool]:
    while True:
        handle, ours = _opened(lock)
        try:
            locked = _flock(handle, lock, what)
            if not ours:
                _remove_stale(lock, handle)
            elif _is_still(handle, lock):
                _sign(handle, what)
                return handle, locked
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _opened(lock: Path) -> tuple[int, bool]:
    """The lock file, open, and whether it may be written to: a colleague's may only be read."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return open_plain(lock, os.O_RDWR | os.O_CREAT, 0o644), True
        except PermissionError:
            if not lock.exists():
                raise
            return open_plain(lock, os.O_RDONLY), False
    except OSError as error:
        raise ArtefactError(
            f"{lock}: the lock file could not be made ({error.strerror}); make its folder writable"
        ) from error


def _remove_stale(lock: Path, handle: int) -> None:
    """Remove the lock file of another user, which this process could lock: whoever made it works no more."""
    try:
        if _is_still(handle, lock):
            lock.unlink(missing_ok=True)
    except OSError as error:
        raise ArtefactError(
            f"{lock}: was left by a job of user {os.fstat(handle).st_uid} and cannot be removed ({error.strerror}); ask them "
            f"to remove it, if their job has ended"
        ) from error


def _flock(handle: int, lock: Path, what: str) -> bool:
    """Whether the file is locked now; False where its file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"{_locked(lock)}: {_holder(handle)}; wait for it or stop it before {what} here") from error
    except OSError as error:
        if error.errno == errno.EBADF:  # NFS gives locks to those only who may write the file
            raise BusyError(
                f"{lock}: belongs to user {os.fstat(handle).st_uid}: {_holder(handle)}; wait for it, or have the file removed "
                f"if it has ended"
            ) from error
        if error.errno not in _UNSUPPORTED:
            raise ArtefactError(
                f"{lock}: could not be locked ({error.strerror}); run again, or mend the file system"
            ) from error
        print(f"{lock}: this file system has no locks; make sure that nothing else is {what} here", file=sys.stderr)
        return False
    return True


def _is_still(handle: int, lock: Path) -> bool:
    """Whether the locked file is the one that the path names now, and not one that its last holder has removed."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False


def _sign(handle: int, what: str) -> None:
    record = {**whereabouts(), "since": now(), "what": what}
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(record).encode(), 0)
    except OSError:  # a full disk: the lock holds, only its label is missing
        pass


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 4096, 0))
        return printable(f"{record['what']} is under way by {describe(record)} since {record['since']}")
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return "another process is at work (it has just started and has not said who it is)"
