"""Folders that only this user can write to: the place for what another user of the machine must not exchange.

Compiled code is loaded, and locks on devices are kept, in such folders only. The rule is that of ssh for its key files: the
folder is this user's own, nobody else may write to it, and nobody else may rename one of the folders that lead to it.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""Bits of a mode that let other users write."""
HOPS = 40
"""More links than this on one way are a circle, as for Linux."""


def is_private(folder: Path) -> bool:
    """Whether `folder` is this user's own and no other user can write to it or put another one in its place."""
    try:
        *ways, (last, status) = looked_up(folder)
    except OSError:
        return False
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & OTHERS
    return own and all(_keeps_its_entries(status) for _, status in ways)


def make_private(folder: Path) -> Path:
    """The folder, made with those above it that are missing; OSError where that cannot be done or it `is_private` not."""
    for missing in reversed([folder, *folder.parents]):
        try:
            missing.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError:
            # A file system may say that it is read-only, or closed, before it says that the folder exists.
            if not missing.is_dir():
                raise
    if not is_private(folder):
        raise PermissionError(errno.EPERM, "another user owns it, can write to it, or can exchange it", str(folder))
    return folder


def first_private(candidates: Sequence[Path]) -> Path | None:
    """The first of the folders that is private, or can be made so; None where there is none."""
    for folder in candidates:
        try:
            return make_private(folder)
        except OSError:
            continue
    return None


def cache_folders() -> list[Path]:
    """Where what may be kept for this user's other jobs can lie, best first; they need not exist, nor be private.

    A relative `$XDG_CACHE_HOME` is ignored, as its specification says: it would mean another folder in every working directory.
    """
    found = [Path(os.environ.get("XDG_CACHE_HOME", ""))]
    try:
        found.append(Path.home() / ".cache")
    except RuntimeError:  # no $HOME, and a user that the system has no name for, as in containers
        pass
    return [folder / "certflow" for folder in found if folder.is_absolute()]


@cache
def scratch() -> Path:
    """A private folder of this process, deleted at its end; OSError where the system has no place for one."""
    folder = tempfile.TemporaryDirectory(prefix="certflow-")
    _kept.append(folder)
    return make_private(Path(folder.name))


_kept: list[tempfile.TemporaryDirectory] = []
"""Deleted with the interpreter."""


def looked_up(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What the system looks at on its way to `path`, from the root on: folders, links, and what those lead to."""
    path = Path.cwd() / path
    current, rest, hops = Path(path.anchor), list(reversed(path.parts[1:])), 0
    yield current, current.lstat()
    while rest:
        name = rest.pop()
        if name == "..":
            current = current.parent
            continue
        entry = current / name
        status = entry.lstat()
        yield entry, status
        if not stat.S_ISLNK(status.st_mode):
            current = entry
            continue
        hops += 1
        if hops > HOPS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = entry.readlink()
        current = Path(target.anchor) if target.is_absolute() else current
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def trusted(owner: int) -> bool:
    """Whether this user is at the mercy of `owner` anyway: himself, and the owner of the system's root folder."""
    return owner in (os.geteuid(), 0, os.lstat("/").st_uid)


def _keeps_its_entries(status: os.stat_result) -> bool:
    """Whether in a folder (or in place of a link) only trusted users can exchange what belongs to others."""
    if stat.S_ISLNK(status.st_mode):
        return trusted(status.st_uid)
    return trusted(status.st_uid) and (not status.st_mode & OTHERS or bool(status.st_mode & stat.S_ISVTX))
