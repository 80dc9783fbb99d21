"""The law of one coordinate of a uniform direction: how much of a sphere lies on one side of a plane.

For u uniform on the unit sphere of R^d let Y = sqrt(d) <u, e>. Its distribution function is

    B(y) = I_{(1 + y/sqrt d)/2}((d-1)/2, (d-1)/2),     density  phi_d(y) ~ (1 - y^2/d)^((d-3)/2)  on |y| <= sqrt d,

normal in the limit. The incomplete beta function takes microseconds for large d, so B is tabulated once per dimension as cubic
Hermite pieces with exact values and slopes, and the table's error is measured between its knots.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.radii.spherical.stirling import log_step

REACH = 9.5
"""Beyond this many standard deviations B is 0 or 1 to within 1e-20."""
CELLS = 8192


class AngleLaw:
    """B and its density for one dimension. `reach`: B is tabulated on [-reach, reach]; `error`: bound on the table's error."""

    def __init__(self, d: int):
        self.d = d
        self.reach = min(REACH, math.sqrt(d))
        z = (d - 1) / 2
        self._log_peak = log_step(z, 0.5) - 0.5 * math.log(math.pi * d)
        knots = np.linspace(-self.reach, self.reach, CELLS + 1)
        self._per_cell = CELLS / (2 * self.reach)
        self._pieces = _hermite(self.exact(knots), self.density(knots) / self._per_cell)
        between = (knots[:-1] + knots[1:]) / 2
        self.error = float(np.abs(self.cdf(between) - self.exact(between)).max()) * 1.1 + 1e-15

    def exact(self, y: np.ndarray) -> np.ndarray:
        """B(y) by the incomplete beta function, from the side where it keeps its digits."""
        z = (self.d - 1) / 2
        tail = special.betainc(z, z, np.clip((1 - np.abs(y) / math.sqrt(self.d)) / 2, 0.0, 1.0))
        return np.where(y > 0, 1 - tail, tail)

    def density(self, y: np.ndarray) -> np.ndarray:
        """phi_d(y), exact; 0 for |y| >= sqrt d."""
        inside = np.minimum(np.square(y) / self.d, 1 - 1e-16)
        value = np.exp(self._log_peak + (self.d - 3) / 2 * np.log1p(-inside))
        return np.where(np.square(y) < self.d, value, 0.0)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """B(y) to within `error`, any shape; arguments beyond the reach count as the reach."""
        cell, rest = self._locate(y)
        c0, c1, c2, c3 = (np.take(piece, cell, mode="clip") for piece in self._pieces)
        c3 *= rest
        c3 += c2
        c3 *= rest
        c3 += c1
        c3 *= rest
        c3 += c0
        return c3

    def cdf_and_density(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B(y) and the slope of its table, which is the density to about 1e-10."""
        cell, rest = self._locate(y)
        c0, c1, c2, c3 = (np.take(piece, cell, mode="clip") for piece in self._pieces)
        value = c0 + rest * (c1 + rest * (c2 + rest * c3))
        slope = c1 + rest * (2 * c2 + rest * (3 * c3))
        slope *= self._per_cell
        return value, slope

    def _locate(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell number and position within it, in [0, 1]."""
        place = np.clip(y, -self.reach, self.reach)
        place += self.reach
        place *= self._per_cell
        cell = np.minimum(place.astype(np.intp), CELLS - 1)
        place -= cell
        return cell, place


def _hermite(value: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cubic coefficients per cell, ascending, for the cell's own coordinate in [0, 1]; `slope` per cell."""
    rise = np.diff(value)
    left, right = slope[:-1], slope[1:]
    pieces = (value[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise)
    return tuple(np.ascontiguousarray(piece) for piece in pieces)


@lru_cache(maxsize=32)
def angle_law(d: int) -> AngleLaw:
    """The table of dimension d >= 3, made once per process (about 0.1 s for d = 150,528)."""
    return AngleLaw(d)
