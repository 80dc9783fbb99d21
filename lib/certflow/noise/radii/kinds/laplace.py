"""l1 and l-infinity radii of Laplace noise (Teng et al. 2020; Yang et al. 2020)."""

from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.kinds.laplace import Laplace
from certflow.noise.radii.checks import below, needed_dimension, raised, scale
from certflow.noise.radii.two_bounds import by_flow

LEAST_MASS = 1e-30
"""Rates are tabulated from this mass on; smaller ones count as it, which only loses."""


def time_l1(p: np.ndarray, noise: Laplace, dim: int | None) -> np.ndarray:
    """-λ ln(2p), exact: the rate is p."""
    with np.errstate(divide="ignore"):
        return -scale(noise) * np.log(2 * p)


def failure_l1(radii: np.ndarray, noise: Laplace, dim: int | None) -> np.ndarray:
    """exp(-r/λ)/2."""
    return below(np.exp(-raised(radii) / scale(noise)) / 2)


class DiagonalTable:
    """∫ of dp/Φ for a shift along the diagonal, λ = 1, in closed form piece by piece.

    The score of a point is S = 2B - d, B ~ Bin(d, 1/2) the number of its positive coordinates, so the worst set of mass p holds
    the points with the largest S. Φ(P(B > m)) = E[S; B > m] = (m + 1)·P(B = m + 1), and between these masses Φ is linear with
    slope 2m - d. The usual approximation by the normal law is too large for odd d.
    """

    def __init__(self, dim: int):
        self.dim = dim
        m = np.arange(dim - 1, dim // 2 - 1, -1)
        mass = special.bdtrc(m, dim, 0.5)
        m, mass = m[mass >= LEAST_MASS], mass[mass >= LEAST_MASS]
        self.rate = dim * special.bdtrc(m - 1, dim - 1, 0.5) - dim * mass
        self.mass, self.slope = mass, (2 * m - dim).astype(np.float64)
        ends = np.append(mass[1:], 0.5)
        lengths = self._within(ends, np.arange(len(mass)))
        self.rest = np.cumsum(lengths[::-1])[::-1]

    def _within(self, p: np.ndarray, piece: np.ndarray) -> np.ndarray:
        """The integral from the beginning of a piece to p."""
        slope, rate, over = self.slope[piece], self.rate[piece], p - self.mass[piece]
        flat = slope == 0
        return np.where(flat, over / rate, np.log1p(slope * over / rate) / np.where(flat, 1.0, slope))

    def time(self, p: np.ndarray) -> np.ndarray:
        """From p to 1/2. Below the first mass the rate is at most d·p, as no score is larger than d."""
        first = self.mass[0]
        inside = np.maximum(p, first)
        piece = np.searchsorted(self.mass, inside, side="right") - 1
        with np.errstate(divide="ignore"):
            before = np.log(np.maximum(first / np.asarray(p), 1.0)) / self.dim
        return self.rest[piece] - self._within(inside, piece) + before


@lru_cache(maxsize=32)
def diagonal_table(dim: int) -> DiagonalTable:
    """The table of one number of coordinates, made once per process."""
    return DiagonalTable(dim)


def time_linf(p: np.ndarray, noise: Laplace, dim: int | None) -> np.ndarray:
    """From the table."""
    return scale(noise) * diagonal_table(needed_dimension(dim, noise)).time(p)


def error_linf(noise: Laplace, dim: int | None) -> float:
    """1e-9 sigma/sqrt(d): binomial masses err by 1e-13 of themselves, rates by sqrt(d) times as much."""
    return 1e-9 * noise.sigma * needed_dimension(dim, noise) ** -0.5


NORMS = {"l1": by_flow(time_l1, failure_l1), "linf": by_flow(time_linf, error=error_linf)}
