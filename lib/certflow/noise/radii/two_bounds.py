"""From what one bound certifies to the form with two, in the two ways that are known to be sound.

Let f bound the probability that the selected class is missed and o that of every other class. Unit vectors of the adversary's
norm are the directions of a shift.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import RadiusOf, Shift
from certflow.noise.radii.checks import RADIUS_GUARD

Error = float | Callable[[Any, int | None], float]


def by_flow(time: RadiusOf, closed_failure: RadiusOf | None = None, error: Error = 0.0, **more: Any) -> Shift:
    """For laws of which the mass p of a set can grow at most at rate Φ(p) while it is shifted by a unit length.

    time: (p, noise, dim) → ∫ of dp/Φ from p to 1/2, for p in [0, 1/2], off by at most `error`: how far a shift must be for a
    mass p to reach 1/2. As a set grows at most as fast as its complement does under the opposite shift, Φ(p) = Φ(1 - p), and
    time is odd about 1/2. f and o both grow along it, and f + o = 1 after the mean of their times: (time(f) + time(o))/2.
    For laws in which the worst set is the same at all times, such as log-concave independent coordinates in l1, this is exact.
    """

    def signed(p, noise, dim):
        value = time(np.minimum(p, 1 - p), noise, dim)
        return np.where(p <= 0.5, value, -value)

    def radius(failure, noise, dim):
        return _less(time(np.minimum(failure, 0.5), noise, dim), _error(error, noise, dim))

    def two(failure, other, noise, dim):
        first, second = signed(failure, noise, dim), signed(other, noise, dim)
        room = np.nextafter(1 - np.asarray(failure), 0) > other
        with np.errstate(invalid="ignore"):
            mean = (first + second) / 2
            cancelled = (abs(first) + abs(second)) / 2 - abs(mean)  # what is left has the rounding of its terms
            given = _error(error, noise, dim) + RADIUS_GUARD * cancelled
            found = np.where(np.isfinite(mean), _less(mean, given), mean)  # infinite where f or o is 0 and never grows
        return np.where(room, found, 0.0)

    return Shift(radius, two, closed_failure, **more)


def by_overlap(time: RadiusOf, closed_failure: RadiusOf | None = None, error: Error = 0.0, **more: Any) -> Shift:
    """For laws of which a shift by r moves every probability by at most t(r), whatever the set.

    time: (p, noise, dim) → the r with t(r) = 1/2 - p, for p in [0, 1/2], off by at most `error`. The selected class keeps at
    least 1 - f - t, others reach at most o + t: they meet where t = 1/2 - (f + o)/2.
    """

    def radius(failure, noise, dim):
        return _less(time(np.minimum(failure, 0.5), noise, dim), _error(error, noise, dim))

    def two(failure, other, noise, dim):
        mean = (np.asarray(failure) + other) / 2
        above = np.where(mean > 0, np.nextafter(mean, 1.0), mean)  # the sum may have been rounded down
        return radius(above, noise, dim)

    return Shift(radius, two, closed_failure, **more)


def _error(error: Error, noise: NoiseSpec, dim: int | None) -> float:
    return error if isinstance(error, float | int) else error(noise, dim)


def _less(value: np.ndarray, error: np.ndarray | float) -> np.ndarray:
    """The value less its error and the share given away to rounding; never negative."""
    return np.maximum(value * (1 - RADIUS_GUARD) - error, 0.0)
