"""l2 radii of Gaussian noise in closed form (Cohen, Rosenfeld and Kolter 2019, Theorem 1)."""

import numpy as np
from scipy import special

from certflow.noise.base import NoiseSpec
from certflow.noise.radii.two_bounds import by_flow


def time(p: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """sigma z(1 - p), exact: half-spaces grow fastest, at the rate of the normal density at z(p) over sigma."""
    return noise.sigma * standard(p)


def standard(failure: np.ndarray) -> np.ndarray:
    """z(1 - failure)."""
    return -special.ndtri(failure)


def closed_failure(radii: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """Phi(-r / sigma)."""
    return special.ndtr(-radii / noise.sigma)


NORMS = {"l2": by_flow(time, closed_failure, standard=standard)}
