"""l1 and l-infinity radii of noise that falls exponentially with the l-infinity norm (Yang et al. 2020)."""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.kinds.exp1 import Exp1
from certflow.noise.kinds.exp_inf import ExpInf
from certflow.noise.radii.checks import below, needed_dimension, raised, scale
from certflow.noise.radii.flow import FlowTable
from certflow.noise.radii.spherical.stirling import log_step
from certflow.noise.radii.two_bounds import by_flow, by_overlap


def largest_l1(noise: ExpInf, dim: int | None) -> float:
    """Where time_l1 ends: λ d/(d - 1) Γ((d - j)/k)/Γ((d - j - 1)/k); in one dimension λ Γ(1 + 1/k)."""
    d, k, j = needed_dimension(dim, noise), noise.k, noise.j
    if d == 1:
        return scale(noise, dim) * math.gamma(1 + 1 / k)
    return scale(noise, dim) * d / (d - 1) * math.exp(log_step((d - j - 1) / k, 1 / k))


def time_l1(p: np.ndarray, noise: ExpInf, dim: int | None) -> np.ndarray:
    """Linear: no set's mass grows faster than the density integrates to over the face of the level sets."""
    return largest_l1(noise, dim) * (1 - 2 * p)


def failure_l1(radii: np.ndarray, noise: ExpInf, dim: int | None) -> np.ndarray:
    """Its inverse."""
    return below(np.maximum(1 - raised(radii) / largest_l1(noise, dim), 0.0) / 2)


@lru_cache(maxsize=32)
def radial_table(d: int, k: float) -> FlowTable:
    """For densities exp(-‖z‖^k) in l-infinity, and in l1, with the adversary in the same norm:
    Φ(p) = k/2 Γ(a')/Γ(a) Ψ(p), a = d/k, a' = a + 1 - 1/k; Ψ is the mass of Gamma(a') above (k >= 1) or below the length that
    Gamma(a) exceeds, or not, with probability 2p."""
    a, tilted = d / k, d / k + 1 - 1 / k
    factor = k / 2 * math.exp(log_step(a, 1 - 1 / k))
    if k >= 1:
        return FlowTable(lambda p: factor * special.gammaincc(tilted, special.gammainccinv(a, 2 * p)))
    return FlowTable(lambda p: factor * special.gammainc(tilted, special.gammaincinv(a, 2 * p)))


def time_linf(p: np.ndarray, noise: ExpInf | Exp1, dim: int | None) -> np.ndarray:
    """From the table; -λ ln(2p) for k = 1, exactly."""
    return scale(noise, dim) * radial_table(needed_dimension(dim, noise), noise.k).time(p)


def error_linf(noise: ExpInf | Exp1, dim: int | None) -> float:
    """The table's."""
    return scale(noise, dim) * radial_table(needed_dimension(dim, noise), noise.k).error


def unknown_linf(noise: ExpInf) -> str | None:
    """Only j = 0 is known."""
    return f"no linf radius is known under exp_inf noise with j={noise.j:g}; use j=0" if noise.j else None


NORMS = {"l1": by_overlap(time_l1, failure_l1), "linf": by_flow(time_linf, error=error_linf, unknown=unknown_linf)}
