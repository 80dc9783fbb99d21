"""Neyman-Pearson radii of generalised Gaussian noise: one table per (d, k) certifies every image.

Knowing only that p_A >= p, the worst classifier is right on {p_delta < e^L p}. For perturbation size rho = r/s its masses are

    Pm(L; rho) = E B(sqrt(d) (rho^2/2 - xi_k(t, -L)) / (rho sqrt(2t)))   under the noise law,     t ~ Gamma(a, 1)
    Rm(L; rho) = 1 - Pm(-L; rho)                                         under the shifted law

(Yang et al. 2020, level-set method; Gaussian, k = 0: Phi(rho/2 + L/rho) and Phi(L/rho - rho/2)). For each rho of a grid, L
solves Rm = 1/2 and Pm(L) is the p_A that certifies exactly rho. The table is inverted by a spline in probit space.
"""

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

from certflow.noise.radii.spherical.angle import angle_law
from certflow.noise.radii.spherical.growth import growth, growth_slope
from certflow.noise.radii.spherical.radial import panels, radial_law

LARGEST = 6.0
"""Largest radius of the table, in units of sigma."""
LEAST_FAILURE = 1e-11
"""Smallest 1 - p_A of the table; beyond, radii stay at the table's end."""
GUARD = 1e-9
"""Radius given away, in units of sigma, for what the spline errs between its knots (measured: below 1e-12)."""
MASS_ERROR = 1e-12
"""Error of a tabulated probability at which nodes suffice. What is left is measured and added to the tabulated p_A."""


class LevelTable:
    """r/sigma <-> p_A at the half level, for a spherical law. `level(r)`: the L with Rm = 1/2 at that radius."""

    knots: ClassVar[int] = 2000
    residual: ClassVar[float] = 2e-15
    """How near to 1/2 the mass at a level must be. What is left is part of the measured error."""

    def masses(self, r: np.ndarray, level: np.ndarray, nodes: int, slope: bool = False):
        """1 - Pm(level; r), [rows], by so many nodes a panel; with `slope` also dPm/dL."""
        raise NotImplementedError

    def build(self) -> None:
        """Make the table, with as many nodes as it takes."""
        self.guard = GUARD
        r = LARGEST * (np.arange(1, self.knots + 1) / self.knots) ** 1.5
        for nodes in (32, 64, 128, 256):
            level, failure = self._rows(r, nodes)
            self.mass_error = self._measured_error(r, level, failure, nodes)
            if self.mass_error <= MASS_ERROR:
                break
        failure = failure - self.mass_error
        z = -special.ndtri(np.clip(failure, 1e-300, 0.5))
        keep = np.concatenate([[True], (failure > LEAST_FAILURE) & (np.diff(z, prepend=0.0) > 0)])
        keep[1:] = np.logical_and.accumulate(keep[1:])
        r, z, level = (np.concatenate([[0.0], values])[keep] for values in (r, z, level))
        self.largest, self._top = float(r[-1]), float(z[-1])
        self._radius = CubicSpline(z, r)
        self._level = CubicSpline(r, level)

    def _rows(self, r: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """The level with Pm(-L) = 1/2 and the failure mass 1 - Pm(L), per radius."""
        level = np.square(r) / 2
        for _ in range(50):
            below, slope = self.masses(r, -level, nodes, slope=True)
            z = special.ndtri(below)  # rises with the level, nearly linearly
            with np.errstate(divide="ignore", invalid="ignore"):
                step = z * np.exp(-np.square(z) / 2) / (math.sqrt(2 * math.pi) * slope)
            step = np.where(np.isfinite(step), step, np.copysign(np.inf, z))  # where all mass is on one side
            level = level - np.clip(step, -level, 0.5 * level)
            if np.abs(step / level).max() < 1e-13 or np.abs(below - 0.5).max() < self.residual:
                break
        return level, self.masses(r, level, nodes)

    def _measured_error(self, r: np.ndarray, level: np.ndarray, failure: np.ndarray, nodes: int) -> float:
        """Four times what doubling the nodes changes, over a sample of the rows: in both masses, the level held."""
        some = slice(3, None, 41)
        error = np.abs(self.masses(r[some], level[some], 2 * nodes) - failure[some]).max()
        error += np.abs(self.masses(r[some], -level[some], 2 * nodes) - 0.5).max()
        return max(4 * float(error), MASS_ERROR / 10)

    def radius(self, failure: np.ndarray) -> np.ndarray:
        """Radius/sigma certified by p_A = 1 - failure, rounded down; 0 for failure >= 1/2."""
        z = -special.ndtri(np.minimum(failure, 0.5))
        value = self._radius(np.minimum(z, self._top)) - self.guard
        return np.where(z > 0, np.maximum(value, 0.0), 0.0)

    def level(self, r: np.ndarray) -> np.ndarray:
        """L with Rm(L; r) = 1/2, for 0 <= r <= largest (beyond: extrapolated; good enough to start a search)."""
        return np.where(r <= self.largest, self._level(np.minimum(r, self.largest)), self._beyond(r))

    def _beyond(self, r: np.ndarray) -> np.ndarray:
        return float(self._level(self.largest)) * np.square(r / self.largest)


class HalfTable(LevelTable):
    """That of the noise N^g(k) on R^d."""

    def __init__(self, d: int, k: int):
        self.d, self.k = d, k
        self.build()

    def masses(self, r: np.ndarray, level: np.ndarray, nodes: int, slope: bool = False):
        """See `LevelTable.masses`."""
        return masses(self.d, self.k, r, level, nodes, slope)


def masses(d: int, k: int, r: np.ndarray, level: np.ndarray, nodes: int, slope: bool = False):
    """1 - Pm(level; r) by four panels of `nodes` nodes, [rows]; with `slope` also dPm/dL.

    r in units of sigma.
    """
    law, angle = radial_law(d, k), angle_law(d)
    x, weight = panels(law.low + (law.high - law.low) * np.array([0.0, 0.05, 0.2, 0.5, 1.0]), nodes)
    weight = weight * law.density(x)
    t = np.square(x)
    out, slopes = np.empty(len(r)), np.empty(len(r))
    for start in range(0, len(r), 250):
        rows = slice(start, start + 250)
        rho = (r[rows] * law.unit)[:, None]
        grown = growth(t, -level[rows, None], k)
        per = math.sqrt(d / 2) / (rho * x)
        below, density = angle.cdf_and_density((grown - rho * rho / 2) * per)
        out[rows] = below @ weight
        slopes[rows] = (density * per * growth_slope(t, grown, k)) @ weight
    return (out, slopes) if slope else out


@lru_cache(maxsize=32)
def half_table(d: int, k: int) -> HalfTable:
    """The table of (d, k), made once per process (about 0.5 s)."""
    return HalfTable(d, k)
