"""From the probability of missing a class to that of hitting it, rounded toward "less certified"."""

import numpy as np
from numpy.typing import ArrayLike


def complement_down(failure: ArrayLike) -> np.ndarray:
    """1 - failure, rounded down: for failure <= 1/2 the difference 1 - (1 - failure) is exact and shows a rounding up."""
    failure = np.asarray(failure, np.float64)
    nearest = 1.0 - failure
    return np.where(1.0 - nearest < failure, np.nextafter(nearest, 0.0), nearest)
