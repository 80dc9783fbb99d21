"""Radii of splitting with independent noise: by how much probabilities can change (Levine and Feizi 2021, Theorem 2).

A change of a coordinate by delta crosses a cut with probability min(1, |delta| / width). By a union bound no probability
changes by more than |delta|_1 / width. As the cuts are independent, by no more than 1 - prod(1 - |delta_i| / width) either,
which is largest in a ball of l-infinity at its corners.
"""

import numpy as np

from certflow.noise.kinds.ssn import IndependentSplitting
from certflow.noise.radii import Shift
from certflow.noise.radii.checks import below, cut, needed_dimension, raised
from certflow.noise.radii.two_bounds import by_overlap


def time(p: np.ndarray, noise: IndependentSplitting, dim: int | None) -> np.ndarray:
    """l1: width (1/2 - p), as a probability changes by at most r / width."""
    return noise.width * (0.5 - p)


def closed_failure(radii: np.ndarray, noise: IndependentSplitting, dim: int | None) -> np.ndarray:
    """l1: 1/2 - r / width, rounded down; 0 from half the width on."""
    return below(np.maximum(0.5 - raised(radii) / noise.width, 0.0))


def linf_radius(failure: np.ndarray, noise: IndependentSplitting, dim: int | None) -> np.ndarray:
    """l-infinity: width (1 - (1/2 + failure)^(1/d))."""
    d = needed_dimension(dim, noise)
    return cut(-noise.width * np.expm1(np.log1p(np.minimum(failure, 0.5) - 0.5) / d))


NORMS = {"l1": by_overlap(time, closed_failure), "linf": Shift(linf_radius)}
