"""Writing a file whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certflow.errors import ArtefactError
from certflow.files.opening import create_new, open_plain, require_place
from certflow.files.parts import part_path, remove_abandoned_parts


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, empty at first; renamed to `path` on success, deleted on any error.

    A reader therefore sees the whole file or none. The data are flushed to disk before the rename, and a full disk is
    reported with the path, leaving nothing half-written behind. What a killed process of this host has left of an earlier
    try is removed. Where another user has put a link in the way, nothing is written through it (`certflow.files.opening`).
    """
    path = Path(path)
    require_place(path)
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_parts(path)
        create_new(part)
        yield part
        _flush(part)
        os.replace(part, path)
    except OSError as error:
        _discard(part)
        raise ArtefactError(f"{path}: could not be written ({error.strerror or error}); nothing was changed") from error
    except BaseException:
        _discard(part)
        raise


def _discard(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # another user's, in a folder where only they may remove it; the error at hand says more
        pass


def _flush(part: Path) -> None:
    handle = open_plain(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
