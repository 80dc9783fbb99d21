"""The C version of the generator: compiled once per machine and user by the C compiler that is there, if one is.

It gives the same bits as the torch versions (`certflow.noise.philox`, `certflow.noise.steps`), so that whether it was
available is not part of a result: a missing compiler costs time, never a different count. `CERTFLOW_NATIVE=0` turns it off.

Loading a library runs code of it, before anything can be compared. Hence it is loaded only from a folder that no other user can
write to (`certflow.files.private`), and only if its bytes are those that its name tells.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from certflow.files.artefact import file_digest
from certflow.files.parts import part_path, remove_abandoned_parts
from certflow.files.private import cache_folders, first_private, scratch
from certflow.noise.fast.agreement import agrees

SOURCE = Path(__file__).with_name("philox.c")
COMPILERS = ("cc", "gcc", "clang", "g++", "clang++")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off")
"""No flag that allows inexact arithmetic."""
SECONDS = 120
"""A compiler that takes longer is given up."""

Form = Literal["uniforms", "signed"]
"""Functions from a 32-bit word to a float32, defined in `certflow.noise.philox`."""


def fill_floats(
    form: Form, lanes: list[torch.Tensor], image: torch.Tensor, draw: torch.Tensor, seed: int, stream: int
) -> bool:
    """Write the values of every lane into the four `lanes`, float32 [rows, groups] of equal strides; False where C is not
    available.

    form: which function of a word (`certflow.noise.philox.FORMS`). image, draw: int64 [rows] on the CPU.
    """
    library = _library()
    if library is None:
        return False
    image, draw = image.contiguous(), draw.contiguous()
    rows, groups = lanes[0].shape
    pointers = (ctypes.c_void_p * 4)(*(lane.data_ptr() for lane in lanes))
    counters = (image.data_ptr(), draw.data_ptr(), seed, stream)
    getattr(library, f"certflow_{form}")(pointers, lanes[0].stride(0), rows, groups, *counters)
    return True


def fill_steps(
    out: torch.Tensor,
    image: torch.Tensor,
    draw: torch.Tensor,
    seed: int,
    stream: int,
    thresholds: torch.Tensor,
    start: torch.Tensor,
    high: torch.Tensor,
) -> bool:
    """Write whole grey levels into `out`, contiguous int16 [rows, 4, groups]; False where C is not available.

    image, draw: int64 [rows] on the CPU. thresholds int64; start and high int32: as `certflow.noise.grid` makes them.
    """
    library = _library()
    if library is None:
        return False
    image, draw = image.contiguous(), draw.contiguous()
    rows, _, groups = out.shape
    counters = (image.data_ptr(), draw.data_ptr(), seed, stream)
    tables = (thresholds.data_ptr(), len(thresholds), start.data_ptr(), high.data_ptr())
    library.certflow_steps(out.data_ptr(), rows, groups, *counters, *tables, 33 - len(start).bit_length())
    return True


def fill_wide_uniforms(
    out: torch.Tensor, group: int, image: torch.Tensor, draw: torch.Tensor, seed: int, stream: int
) -> bool:
    """Write one float64 per row, from the words of one group, into `out` [rows]; False where C is not available."""
    library = _library()
    if library is None:
        return False
    image, draw = image.contiguous(), draw.contiguous()
    library.certflow_wide(out.data_ptr(), len(out), group, image.data_ptr(), draw.data_ptr(), seed, stream)
    return True


def available() -> bool:
    """Whether the C version is in use (compiles it if it was not yet)."""
    return _library() is not None


@cache
def _library() -> ctypes.CDLL | None:
    """The C functions, or None: from the user's cache, else compiled for this process where that cache cannot be used."""
    if os.environ.get("CERTFLOW_NATIVE") == "0":
        return None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    for place in (_cached, _temporary):
        try:
            library = _loaded(place(compiler))
        except (OSError, AttributeError):  # no such folder, another library, or one that may not be run from there
            continue
        if agrees(library):
            return library
    return None


def _loaded(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pointer, int32, int64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    counters = (pointer, pointer, ctypes.c_uint64, ctypes.c_uint32)
    for fill in (library.certflow_uniforms, library.certflow_signed):
        fill.argtypes, fill.restype = (pointer, int64, int64, int64, *counters), None
    library.certflow_steps.argtypes = (pointer, int64, int64, *counters, pointer, int32, pointer, pointer, int32)
    library.certflow_wide.argtypes = (pointer, int64, ctypes.c_uint32, *counters)
    library.certflow_wide.restype = None
    library.certflow_steps.restype = None
    return library


def _cached(compiler: str | None) -> Path:
    """The library in the user's cache, compiled now if need be. Its name holds the SHA-256 of its bytes."""
    made_of = (SOURCE.read_bytes(), FLAGS, platform.machine(), platform.libc_ver())
    key = sha256(repr(made_of).encode()).hexdigest()[:16]
    folder = first_private(cache_folders())
    if folder is None:
        raise FileNotFoundError("no cache that is this user's alone")
    for path in sorted(folder.glob(f"philox-{key}-*.so")):
        if path.name == _name(key, path):
            return path
    return _compile(compiler, folder, key)


def _temporary(compiler: str | None) -> Path:
    """The library, compiled into a folder that is gone when this process ends."""
    return _compile(compiler, scratch(), "now")


def _name(key: str, path: Path) -> str:
    """What a library is called."""
    return f"philox-{key}-{file_digest(path)}.so"


def _compile(compiler: str | None, folder: Path, key: str) -> Path:
    """Compile into `folder`: whole or not at all, also when two processes do it at once. OSError where it cannot be done."""
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    remove_abandoned_parts(folder / f"philox-{key}")
    part = part_path(folder / f"philox-{key}")
    command = [compiler, "-x", "c", *FLAGS, "-o", str(part), str(SOURCE)]
    try:
        subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
        part.chmod(0o500)
        return part.replace(folder / _name(key, part))
    except subprocess.SubprocessError as error:
        raise OSError(f"{compiler} failed") from error
    finally:
        part.unlink(missing_ok=True)
