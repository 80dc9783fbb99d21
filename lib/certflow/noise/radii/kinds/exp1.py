"""l1 radii of noise that falls exponentially with the l1 norm, by the differential method (Yang et al. 2020)."""

import numpy as np

from certflow.noise.kinds.exp1 import Exp1
from certflow.noise.radii.checks import needed_dimension, scale
from certflow.noise.radii.kinds.exp_inf import radial_table
from certflow.noise.radii.two_bounds import by_flow


def time(p: np.ndarray, noise: Exp1, dim: int | None) -> np.ndarray:
    """From the table that l-infinity noise has in l-infinity."""
    return scale(noise, dim) * radial_table(needed_dimension(dim, noise), noise.k).time(p)


def error(noise: Exp1, dim: int | None) -> float:
    """The table's."""
    return scale(noise, dim) * radial_table(needed_dimension(dim, noise), noise.k).error


NORMS = {"l1": by_flow(time, error=error)}
