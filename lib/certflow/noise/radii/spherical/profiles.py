"""Neyman-Pearson radii of spherical laws with any profile: the level-set method of `half_table` for densities exp(-ψ(‖z‖)).

ψ is a function of the power T = ‖z‖^k. Where T has its distribution by the noise, the point whose density is smaller by the
factor e^L lies at T + X(T, L), and the mass outside the ball of that radius around a point at distance e is the angle's law at
(s² - r² - e²)/(2re), r^k = T, s^k = T + X (Yang et al. 2020, level-set method). The mean over T is taken in its normal score z,
T the Φ(z)-quantile, which resolves both tails whatever the law.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

from certflow.noise.radii.spherical.angle import angle_law
from certflow.noise.radii.spherical.growth import growth, growth_slope
from certflow.noise.radii.spherical.half_table import GUARD, LevelTable
from certflow.noise.radii.spherical.radial import panels

EDGES = np.array([-8.2, -3.0, -1.0, 0.0, 1.0, 3.0, 8.2])
"""Panels of z. What lies outside is less than 3e-16."""
LEAST_DIMENSION = 3
"""In which the angle's density is bounded."""


@dataclass(frozen=True)
class Profile(ABC):
    """A law of unit scale on R^d."""

    d: int
    k: float
    """The power in T = ‖z‖^k."""
    unit: float
    """Its standard deviation per coordinate."""

    @abstractmethod
    def quantile(self, z: np.ndarray) -> np.ndarray:
        """T at the normal score z."""

    @abstractmethod
    def growth(self, t: np.ndarray, level: np.ndarray) -> np.ndarray:
        """X >= -T with ψ(T + X) - ψ(T) = level, and -T where there is none."""

    @abstractmethod
    def growth_slope(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """dX/dlevel; 0 where X = -T."""


@dataclass(frozen=True)
class Exponential(Profile):
    """ψ = T + (j/k) ln T; T ~ Gamma((d - j)/k)."""

    j: float

    def quantile(self, z: np.ndarray) -> np.ndarray:
        """See `Profile.quantile`."""
        shape, tail = (self.d - self.j) / self.k, special.ndtr(-np.abs(z))
        return np.where(z < 0, special.gammaincinv(shape, tail), special.gammainccinv(shape, tail))

    def growth(self, t: np.ndarray, level: np.ndarray) -> np.ndarray:
        """See `Profile.growth`."""
        return growth(t, level, self.j / self.k)

    def growth_slope(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Profile.growth_slope`."""
        return growth_slope(t, x, self.j / self.k)


@dataclass(frozen=True)
class Power(Profile):
    """ψ = a ln(1 + T); T/(1 + T) ~ Beta(d/k, a - d/k)."""

    a: float

    def quantile(self, z: np.ndarray) -> np.ndarray:
        """See `Profile.quantile`."""
        first, tail = self.d / self.k, special.ndtr(-np.abs(z))
        low, high = special.betaincinv(first, self.a - first, tail), special.betaincinv(self.a - first, first, tail)
        return np.where(z < 0, low / (1 - low), (1 - high) / high)

    def growth(self, t: np.ndarray, level: np.ndarray) -> np.ndarray:
        """See `Profile.growth`."""
        return np.maximum((1 + t) * np.expm1(level / self.a), -t)

    def growth_slope(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Profile.growth_slope`."""
        return np.where(x > -t, (1 + t + x) / self.a, 0.0)


class ProfileTable(LevelTable):
    """The table of one law."""

    knots: ClassVar[int] = 2000
    residual: ClassVar[float] = 1e-13

    def __init__(self, profile: Profile):
        self.profile = profile
        self.build()
        self.guard = max(GUARD, self._spline_error())

    def _spline_error(self) -> float:
        """What a spline through every other knot is off by at the knots between: more than the spline through all is."""
        z = self._radius.x
        r = self._radius(z)
        return float(np.abs(CubicSpline(z[::2], r[::2])(z[1:-1:2]) - r[1:-1:2]).max(initial=0.0))

    def masses(self, r: np.ndarray, level: np.ndarray, nodes: int, slope: bool = False):
        """See `LevelTable.masses`: r in units of sigma."""
        law, angle = self.profile, angle_law(self.profile.d)
        z, weight = panels(EDGES, nodes)
        weight = weight * np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi)
        t = law.quantile(z)
        length = t ** (1 / law.k)
        out, slopes = np.empty(len(r)), np.empty(len(r))
        for start in range(0, len(r), 250):
            rows = slice(start, start + 250)
            e = (r[rows] * law.unit)[:, None]
            grown = law.growth(t, -level[rows, None])
            with np.errstate(divide="ignore"):
                wider = np.expm1(2 / law.k * np.log1p(grown / t))  # s²/r² - 1
            per = math.sqrt(law.d) / (2 * length * e)
            y = (wider * np.square(length) - np.square(e)) * per
            below, density = angle.cdf_and_density(y)
            out[rows] = below @ weight
            if slope:
                ends = np.where(grown > -t, t + grown, 1.0)
                turn = law.growth_slope(t, grown) * 2 / law.k * (1 + wider) * np.square(length) / ends
                slopes[rows] = (density * per * turn) @ weight
        return (out, slopes) if slope else out


@lru_cache(maxsize=32)
def profile_table(profile: Profile) -> ProfileTable:
    """The table of a law, made once per process (about 1 s)."""
    if profile.d < LEAST_DIMENSION:
        raise ValueError(f"d: radii are computed for {LEAST_DIMENSION} coordinates or more, got {profile.d}")
    return ProfileTable(profile)
