"""l2 radii of generalised Gaussian noise by level sets (Yang et al. 2020), tabulated for each (d, k)."""

import numpy as np

from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import RADIUS_GUARD, checked_dimension, needed_dimension
from certflow.noise.radii.kinds import gaussian


def radius(failure: np.ndarray, noise: GeneralizedGaussian, dim: int | None) -> np.ndarray:
    """From the table of (dim, k), at most 6 sigma; in closed form for k = 0, which is the Gaussian."""
    if noise.k == 0:
        return gaussian.NORMS["l2"].radius(failure, noise, dim)
    from certflow.noise.radii.spherical.half_table import half_table

    d, k = checked_dimension(needed_dimension(dim, noise), noise.k)
    table = half_table(d, k)
    return noise.sigma * (1 - RADIUS_GUARD) * table.radius(failure)


NORMS = {"l2": Shift(radius)}
