"""Radii of splitting with independent noise: by how much probabilities can change (Levine and Feizi 2021, Theorem 2).

A change of a coordinate by delta crosses a cut with probability min(1, |delta| / width). By a union bound no probability
changes by more than |delta|_1 / width. As the cuts are independent, by no more than 1 - prod(1 - |delta_i| / width) either,
which is largest in a ball of l-infinity at its corners.
"""

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import RADIUS_GUARD, checked_sigma, cut, needed_dimension


def radius(failure: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """l1: width (1/2 - failure)."""
    return cut(_width(noise) * (0.5 - np.minimum(failure, 0.5)))


def two(failure: np.ndarray, other: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """l1: width/2 (1 - failure - other): the selected class falls and another one rises, by |delta|_1 / width each."""
    return cut(_width(noise) / 2 * (1 - failure - other))


def closed_failure(radii: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """l1: 1/2 - r / width, rounded down; 0 from half the width on."""
    return np.maximum(0.5 - radii / _width(noise) / (1 - 2 * RADIUS_GUARD), 0.0)


def linf_radius(failure: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
    """l-infinity: width (1 - (1/2 + failure)^(1/d))."""
    d = needed_dimension(dim, noise)
    return cut(-_width(noise) * np.expm1(np.log(0.5 + np.minimum(failure, 0.5)) / d))


def _width(noise: NoiseSpec) -> float:
    checked_sigma(noise.sigma)
    return noise.width


NORMS = {"l1": Shift(radius, two, closed_failure), "linf": Shift(linf_radius)}
