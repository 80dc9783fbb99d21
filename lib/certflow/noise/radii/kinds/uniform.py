"""l1 and l-infinity radii of uniform noise (Lee et al. 2019; Yang et al. 2020): exact."""

import numpy as np

from certflow.noise.kinds.uniform import Uniform
from certflow.noise.radii.checks import below, needed_dimension, raised, scale
from certflow.noise.radii.two_bounds import by_overlap


def time_l1(p: np.ndarray, noise: Uniform, dim: int | None) -> np.ndarray:
    """λ(1 - 2p): two cubes shifted against each other along one axis share 1 - r/(2λ) of their volume."""
    return scale(noise) * (1 - 2 * p)


def failure_l1(radii: np.ndarray, noise: Uniform, dim: int | None) -> np.ndarray:
    """(1 - r/λ)/2."""
    return below(np.maximum(1 - raised(radii) / scale(noise), 0.0) / 2)


def time_linf(p: np.ndarray, noise: Uniform, dim: int | None) -> np.ndarray:
    """2λ(1 - (1/2 + p)^(1/d)): along the diagonal they share (1 - r/(2λ))^d."""
    return -2 * scale(noise) * np.expm1(np.log1p(p - 0.5) / needed_dimension(dim, noise))


def failure_linf(radii: np.ndarray, noise: Uniform, dim: int | None) -> np.ndarray:
    """(1 - r/(2λ))^d - 1/2."""
    share = np.minimum(raised(radii) / (2 * scale(noise)), 1.0)
    with np.errstate(divide="ignore"):
        return below(np.maximum(np.expm1(needed_dimension(dim, noise) * np.log1p(-share)) + 0.5, 0.0))


NORMS = {"l1": by_overlap(time_l1, failure_l1), "linf": by_overlap(time_linf, failure_linf)}
