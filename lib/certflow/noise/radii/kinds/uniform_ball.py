"""l2 radii of uniform noise on a ball (Yang et al. 2020): exact."""

import numpy as np
from scipy import special

from certflow.noise.kinds.uniform_ball import UniformBall
from certflow.noise.radii.checks import needed_dimension, scale
from certflow.noise.radii.two_bounds import by_overlap


def time(p: np.ndarray, noise: UniformBall, dim: int | None) -> np.ndarray:
    """λ(2 - 4·B⁻¹(1/4 + p/2)), B the law Beta((d + 1)/2, (d + 1)/2): two balls at distance r share 2B(1/2 - r/(4λ))."""
    half = (needed_dimension(dim, noise) + 1) / 2
    return scale(noise, dim) * (2 - 4 * special.betaincinv(half, half, 0.25 + p / 2))


def closed_failure(radii: np.ndarray, noise: UniformBall, dim: int | None) -> np.ndarray:
    """2B(1/2 - r/(4λ)) - 1/2."""
    half = (needed_dimension(dim, noise) + 1) / 2
    distance = (radii + 2 * error(noise, dim)) * (1 + 2e-12) / (4 * scale(noise, dim))
    found = 2 * special.betainc(half, half, np.maximum(0.5 - distance, 0.0)) - 0.5
    return np.where(radii <= 0, 0.5, np.maximum(found - 1e-14, 0.0))


def error(noise: UniformBall, dim: int | None) -> float:
    """Of the beta law's quantile, near 1/2, to its last digits."""
    return 1e-14 * scale(noise, dim)


NORMS = {"l2": by_overlap(time, closed_failure, error)}
