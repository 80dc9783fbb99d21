"""Where something changes sign: over nodes of a lattice, and over whole numbers."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

T = TypeVar("T")


def least(make: Callable[[int], T], good: Callable[[T], bool], bounds: tuple[int, int], guess: int) -> tuple[T, int]:
    """(make(i), i) for the least whole i within `bounds` that is good, by doubling steps from a guess and then bisection.

    Whatever is larger than a good i is taken to be good, and so is the upper bound.
    """
    made: dict[int, T] = {}

    def fits(i: int) -> bool:
        made[i] = make(i)
        return good(made[i])

    low, high, width = bounds[0] - 1, bounds[1], 1
    at = min(max(guess, bounds[0]), bounds[1] - 1)
    while high - low > 1:
        if fits(at):
            high = at
        else:
            low = at
        at = (low + high) // 2
        if high - low > 2 * width:  # one end is still that of the bounds
            at = high - width if low < bounds[0] else low + width
            width *= 2
    return made[high] if high in made else make(high), high


def first_good(low: ArrayLike, high: ArrayLike, good: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """int64 of their common shape: the least whole number above `low` that is good, or `high`; bisection, all entries at once.

    Whatever is larger than a good number is taken to be good. good: int64 numbers above `low`, up to `high` → bool.
    """
    low, high = np.broadcast_arrays(np.asarray(low, np.int64), np.asarray(high, np.int64))
    while (high - low > 1).any():
        middle = (low + high + 1) // 2  # where the search has ended, that is `high`
        fits = good(middle)
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    return high


def crossing(nodes: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, float]:
    """(share rejected at each node, threshold on misses): reject from the left up to where `gain` is positive."""
    good = int(np.flatnonzero(gain > 0)[-1]) + 1 if (gain > 0).any() else 0
    share = (np.arange(len(nodes)) < good).astype(np.float64)
    if good == 0:
        return share, float(nodes[0]) - 1.0
    if good == len(nodes):
        return share, float(nodes[-1])
    part = gain[good - 1] / (gain[good - 1] - gain[good])
    share[good - 1 : good + 1] = min(1.0, part + 0.5), max(0.0, part - 0.5)
    return share, float(nodes[good - 1] + part * (nodes[good] - nodes[good - 1]))


def last_above(nodes: np.ndarray, value: np.ndarray) -> float:
    """Where `value` falls to 0, from the left; nothing beyond is worth a draw."""
    positive = np.flatnonzero(value > 0)
    if not len(positive):
        return float(nodes[0])
    last = int(positive[-1])
    if last + 1 == len(nodes):
        return float(nodes[-1]) + 1.0
    part = value[last] / (value[last] - value[last + 1]) if value[last + 1] < 0 else 0.5
    return float(nodes[last] + part * (nodes[last + 1] - nodes[last]))
