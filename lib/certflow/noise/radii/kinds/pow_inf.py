"""l1 and l-infinity radii of noise that falls as a power of the l-infinity norm (Yang et al. 2020)."""

from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.kinds.pow_inf import PowInf
from certflow.noise.radii.checks import below, needed_dimension, raised, scale
from certflow.noise.radii.flow import FlowTable
from certflow.noise.radii.two_bounds import by_flow, by_overlap


def largest_l1(noise: PowInf, dim: int | None) -> float:
    """λ d/(a - d)."""
    d = needed_dimension(dim, noise)
    return scale(noise, dim) * d / (noise.a - d)


def time_l1(p: np.ndarray, noise: PowInf, dim: int | None) -> np.ndarray:
    """Linear, as under exp_inf noise."""
    return largest_l1(noise, dim) * (1 - 2 * p)


def failure_l1(radii: np.ndarray, noise: PowInf, dim: int | None) -> np.ndarray:
    """Its inverse."""
    return below(np.maximum(1 - raised(radii) / largest_l1(noise, dim), 0.0) / 2)


@lru_cache(maxsize=32)
def table(d: int, a: float) -> FlowTable:
    """Φ(p) = (a - d)/2 · B'(B⁻¹(2p)), B the law Beta(d, a - d) of r/(1 + r) and B' the law Beta(d, a + 1 - d)."""
    return FlowTable(lambda p: (a - d) / 2 * special.betainc(d, a + 1 - d, special.betaincinv(d, a - d, 2 * p)))


def time_linf(p: np.ndarray, noise: PowInf, dim: int | None) -> np.ndarray:
    """From the table."""
    return scale(noise, dim) * table(needed_dimension(dim, noise), noise.a).time(p)


def error_linf(noise: PowInf, dim: int | None) -> float:
    """The table's."""
    return scale(noise, dim) * table(needed_dimension(dim, noise), noise.a).error


NORMS = {"l1": by_overlap(time_l1, failure_l1), "linf": by_flow(time_linf, error=error_linf)}
