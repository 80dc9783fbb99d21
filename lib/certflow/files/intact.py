"""Opening files that may be anything: regular files only, of bounded size, and one error whatever is wrong with them."""

import errno
import hashlib
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

from certflow.errors import ArtefactError, UnreadableError, short_of_memory

DAMAGE = (
    OSError,
    EOFError,
    ValueError,  # wrong JSON, text that is not UTF-8, records that break their schema, tables that pandas cannot read
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,  # includes RecursionError (deeply nested text) and NotImplementedError (an unknown compression)
    MemoryError,
    SyntaxError,
    TokenError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What the parsers of JSON, zip, npy, safetensors and tables raise when they are given damaged bytes."""

BY_CONTENT = (errno.EINVAL, errno.EOVERFLOW, errno.EISDIR)
"""What the system answers where a damaged file sends its reader to a place that is none, and where a folder lies there."""
RECORD_BYTES = 2**26
"""The largest record (JSON) that is read: one with the settings of a large denoiser has a few kilobytes."""
CHUNK = 2**20


@contextmanager
def reading(
    path: str | Path, remedy: str = "delete it and run again", absent: str = "run the step that makes it"
) -> Iterator[None]:
    """Within this context everything that a damaged or missing file raises becomes an `ArtefactError`.

    It names the file, the cause, and the `remedy`, or what to do where the file is `absent`. An `UnreadableError` says that the
    system did not give the file out: nobody is told to delete what may be whole. Errors that are `ArtefactError` already
    pass unchanged.
    """
    try:
        yield
    except ArtefactError:
        raise
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: is missing; {absent}") from error
    except DAMAGE as error:
        if short_of_memory(error):
            raise UnreadableError(
                f"{path}: needs more memory than there is; it may be whole, so keep it, use a larger machine, and run again"
            ) from error
        if withheld(error):
            raise UnreadableError(
                f"{path}: could not be read ({brief(error)}); it may be whole, so keep it, mend that, and run again"
            ) from error
        raise ArtefactError(f"{path}: is damaged ({brief(error)}); {remedy}") from error


def withheld(error: BaseException) -> bool:
    """Whether an error in reading a file comes from the system (permissions, disks, networks) and not from what is in it."""
    return isinstance(error, OSError) and error.errno not in (None, *BY_CONTENT)


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """The file, open for reading; anything but a regular file is a ValueError (a pipe would wait for ever)."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is not a regular file")
        yield file


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_bounded(path: str | Path) -> bytes:
    """All bytes of a file; ValueError, before anything is read, where there are more than `RECORD_BYTES`."""
    with opened(path) as file:
        if size_of(file) > RECORD_BYTES:
            raise ValueError(f"it has {size_of(file):,} bytes, at most {RECORD_BYTES:,} are expected")
        return file.read(RECORD_BYTES + 1)


def read_all(path: str | Path) -> bytes:
    """All bytes of a regular file of any size; for anything else the errors of `opened`."""
    with opened(path) as file:
        return file.read()


def parsed_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError also for an object with one key twice, of which parsers take the last in silence."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is written twice in one object")
        found[key] = value
    return found


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a regular file's bytes; for anything else the errors of `opened`."""
    with opened(path) as file:
        return digest_of(file)


def digest_of(file: BinaryIO, size: int | None = None) -> str:
    """SHA-256 (hex) of the first `size` bytes of an open file (default: all), read in chunks of 1 MiB."""
    file.seek(0)
    left = size_of(file) if size is None else size
    total = hashlib.sha256()
    while left > 0:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise EOFError("it ends too early")
        total.update(chunk)
        left -= len(chunk)
    return total.hexdigest()


def brief(error: BaseException) -> str:
    """One line that says what went wrong: parsers' messages may be long, and some are empty."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return (text[:200] + " …" if len(text) > 200 else text) or type(error).__name__
