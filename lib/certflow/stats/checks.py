"""Refusing values that no statistic is defined for, in words that say which value it was."""

import numpy as np
from numpy.typing import ArrayLike


def whole(name: str, value: ArrayLike, *, low: int, high: int) -> np.ndarray:
    """`value` as int64, if every entry is a whole number in [low, high]; a float such as 3.0 counts as whole.

    ValueError otherwise, naming the first offending entry.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"{name}: must be whole numbers, got {_shown(given)} of type {given.dtype}")
    bad = ~((given >= low) & (given <= high))
    if given.dtype.kind == "f":
        bad |= given != np.floor(given)
    if bad.any():
        raise ValueError(f"{name}: must be a whole number from {low} to {high}, got {given[bad].flat[0]}")
    return given.astype(np.int64)


def level(name: str, value: ArrayLike, *, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """`value` as float64, if every entry lies strictly between `low` and `high`; ValueError otherwise (NaN and text too)."""
    given = np.asarray(value)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"{name}: must be a number between {low:g} and {high:g}, got {_shown(given)}")
    bad = ~((given > low) & (given < high))
    if bad.any():
        raise ValueError(f"{name}: must lie strictly between {low:g} and {high:g}, got {given[bad].flat[0]}")
    return given.astype(np.float64)


def _shown(given: np.ndarray) -> str:
    return repr(given.flat[0]) if given.size else "an empty list"
