"""l2 radii of noise that falls as a power of the l2 norm, by level sets (Yang et al. 2020): exact."""

import numpy as np

from certflow.noise.kinds.pow2 import Pow2
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import RADIUS_GUARD, needed_dimension


def radius(failure: np.ndarray, noise: Pow2, dim: int | None) -> np.ndarray:
    """From the table of (dim, k, a), at most 6 sigma."""
    from certflow.noise.radii.spherical.profiles import Power, profile_table

    d = needed_dimension(dim, noise)
    table = profile_table(Power(d, noise.k, noise.sigma / noise.scale(d), noise.a))
    return noise.sigma * (1 - RADIUS_GUARD) * table.radius(failure)


NORMS = {"l2": Shift(radius)}
