"""l2 radii of Gaussian noise in closed form (Cohen, Rosenfeld and Kolter 2019, Theorem 1)."""

import numpy as np
from scipy import special

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import checked_sigma, cut


def radius(failure: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """sigma z(1 - failure)."""
    return cut(-checked_sigma(noise.sigma) * special.ndtri(np.minimum(failure, 0.5)))


def two(failure: np.ndarray, other: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """sigma/2 (z(1 - failure) - z(other))."""
    distance = -special.ndtri(failure) - special.ndtri(other)
    return np.where(distance > 0, cut(checked_sigma(noise.sigma) / 2 * distance), 0.0)


def standard(failure: np.ndarray) -> np.ndarray:
    """z(1 - failure)."""
    return -special.ndtri(failure)


def closed_failure(radii: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """Phi(-r / sigma)."""
    return special.ndtr(-radii / noise.sigma)


NORMS = {"l2": Shift(radius, two, closed_failure, standard)}
