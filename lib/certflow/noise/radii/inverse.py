"""Which failure probability still certifies a radius: the inverse of a radius that has no closed form."""

from collections.abc import Callable

import numpy as np
from scipy import special

LARGEST_Z = 37.5
"""ndtr(-37.5) is 5e-308, about the smallest normal float64 (beyond 37.7 it is 0); no bound from counts comes near."""


def least_failure(radius: Callable[[np.ndarray], np.ndarray], radii: np.ndarray) -> np.ndarray:
    """float64 of the shape of `radii`: the largest failure (within rounding, from below) at which `radius` reaches each.

    0 where none does, 1/2 for radius 0. `radius` falls with the failure. Bisection over z, failure = ndtr(-z): the end that
    reaches the radius is returned, so what comes back certifies what was asked for by the very function that will be used.
    """
    low, high = np.zeros(radii.shape), np.full(radii.shape, LARGEST_Z)
    reachable = radius(special.ndtr(-high)) >= radii
    for _ in range(80):
        middle = (low + high) / 2
        reached = radius(special.ndtr(-middle)) >= radii
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(radii <= 0, 0.5, np.where(reachable, special.ndtr(-high), 0.0))
