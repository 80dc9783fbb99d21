"""Whether a compiled generator gives the numbers that it must: asked once per process, before any of them is used."""

import ctypes

import numpy as np

from certflow.noise.grid import BITS, CELL_BITS, HIGH_STREAM, LOW_STREAM, index_thresholds
from certflow.noise.variates import philox_words

IMAGE, DRAW = np.random.default_rng(0).integers(1 << 32, size=(2, 7))
"""Counters, each bit of which is set in some rows and not in others."""
GROUPS = 261
"""More than a block of philox.c, and no multiple of a vector's width: all ways through its loops are taken."""
SEED, STREAM = 0xFEDCBA9889ABCDEF, 3


def agrees(library: ctypes.CDLL) -> bool:
    """Whether the functions give what numpy's 64-bit integers give (`certflow.noise.variates`). Takes some milliseconds."""
    return _floats_agree(library) and _steps_agree(library) and _wide_agree(library)


def _floats_agree(library: ctypes.CDLL) -> bool:
    words = _words()
    size = _unit(words & np.uint64(0x7FFFFFFF), 31)
    wanted = {"uniforms": _unit(words, 32), "signed": np.where(words >> np.uint64(31), -size, size)}
    return all(np.array_equal(_filled(library, form), values.transpose(2, 0, 1)) for form, values in wanted.items())


def _filled(library: ctypes.CDLL, form: str) -> np.ndarray:
    """float32 [4, images, groups]: what the function of this name gives."""
    found = np.zeros((4, len(IMAGE), GROUPS), np.float32)
    lanes = (ctypes.c_void_p * 4)(*(lane.ctypes.data for lane in found))
    getattr(library, f"certflow_{form}")(lanes, GROUPS, len(IMAGE), GROUPS, *_counters())
    return found


def _unit(words: np.ndarray, bits: int) -> np.ndarray:
    """(w + 1/2) / 2**bits in float32, below 1."""
    return np.minimum((words.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-bits), np.float32(1 - 2.0**-24))


def _steps_agree(library: ctypes.CDLL) -> bool:
    """With thresholds as they may lie: at a value (which counts), just above one, and both in one cell."""
    u = (_words(HIGH_STREAM) << np.uint64(BITS - 32) | _words(LOW_STREAM) >> np.uint64(64 - BITS)).astype(np.int64)
    limits = np.unique(np.concatenate([u[0], u[1] + 1, u[2], u[2] + 1]))
    start, high = index_thresholds(limits)
    found = np.zeros((len(IMAGE), 4, GROUPS), np.int16)
    tables = (limits.ctypes.data, len(limits), start.ctypes.data, high.ctypes.data, 32 - CELL_BITS)
    library.certflow_steps(found.ctypes.data, len(IMAGE), GROUPS, *_counters(), *tables)
    wanted = np.searchsorted(limits, u, side="right") - len(limits) // 2
    return np.array_equal(found, wanted.transpose(0, 2, 1))


def _wide_agree(library: ctypes.CDLL) -> bool:
    found = np.zeros(len(IMAGE))
    library.certflow_wide(found.ctypes.data, len(IMAGE), GROUPS - 1, *_counters())
    high, low = _words()[:, -1, :2].T
    wanted = ((high << np.uint64(20) | low >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return np.array_equal(found, wanted)


def _counters() -> tuple[int, int, int, int]:
    return IMAGE.ctypes.data, DRAW.ctypes.data, SEED, STREAM


def _words(stream: int = 0) -> np.ndarray:
    """uint64 [images, groups, 4]: the words of stream STREAM + `stream`."""
    image, draw, group = np.broadcast_arrays(IMAGE[:, None], DRAW[:, None], np.arange(GROUPS))
    return philox_words(image, seed=SEED, stream=STREAM + stream, draw=draw, group=group)
