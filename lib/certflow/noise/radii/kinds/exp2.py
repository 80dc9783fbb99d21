"""l2 radii of noise that falls exponentially with the l2 norm, by level sets (Yang et al. 2020): exact."""

import numpy as np

from certflow.noise.kinds.exp2 import Exp2
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import RADIUS_GUARD, needed_dimension


def radius(failure: np.ndarray, noise: Exp2, dim: int | None) -> np.ndarray:
    """From the table of (dim, k, j), at most 6 sigma."""
    from certflow.noise.radii.spherical.profiles import Exponential, profile_table

    d = needed_dimension(dim, noise)
    table = profile_table(Exponential(d, noise.k, noise.sigma / noise.scale(d), noise.j))
    return noise.sigma * (1 - RADIUS_GUARD) * table.radius(failure)


NORMS = {"l2": Shift(radius)}
