"""The C version of the generator (`philox.c`), where it can be compiled.

It gives the same bits as the torch versions (`certflow.noise.philox`, `certflow.noise.steps`), so that whether it was
available is not part of a result: a missing compiler costs time, never a different count.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from certflow.machine.native import Source, features, load
from certflow.noise.fast.agreement import agrees

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
    """The C functions, or None where they cannot be had."""
    return load(source(), _declare, agrees)


def source() -> Source:
    """What the functions are compiled from, for this CPU: with no flag that allows inexact arithmetic."""
    return Source(Path(__file__).with_name("philox.c"), (*features(), "-ffp-contract=off"))


def _declare(library: ctypes.CDLL) -> None:
    pointer, int32, int64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    counters = (pointer, pointer, ctypes.c_uint64, ctypes.c_uint32)
    for fill in (library.certflow_uniforms, library.certflow_signed):
        fill.argtypes, fill.restype = (pointer, int64, int64, int64, *counters), None
    library.certflow_steps.argtypes = (pointer, int64, int64, *counters, pointer, int32, pointer, pointer, int32)
    library.certflow_wide.argtypes = (pointer, int64, ctypes.c_uint32, *counters)
    library.certflow_wide.restype = None
    library.certflow_steps.restype = None
