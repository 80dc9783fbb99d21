"""l1 radii of exponential-power noise (Yang et al. 2020): exact for p >= 1, by the differential method below."""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.kinds.expp import ExponentialPower
from certflow.noise.radii.checks import scale
from certflow.noise.radii.flow import FlowTable
from certflow.noise.radii.two_bounds import by_flow


def time(p: np.ndarray, noise: ExponentialPower, dim: int | None) -> np.ndarray:
    """For a power of 1 or more the quantile of one coordinate, else from the table."""
    return scale(noise) * (quantile(p, noise.p) if noise.p >= 1 else table(noise.p).time(p))


def quantile(p: np.ndarray, power: float) -> np.ndarray:
    """t > 0 with P(z_1 > t) = p, for p in [0, 1/2] and λ = 1. P(|z_1| <= t) = G(t^power), G the law Gamma(1/power)."""
    outside, inside = 2 * np.asarray(p), 1 - 2 * np.asarray(p)
    t = np.where(
        outside < 0.5, special.gammainccinv(1 / power, outside), special.gammaincinv(1 / power, np.maximum(inside, 0.0))
    )
    # The density is largest at 0: hence t >= inside * Γ(1 + 1/power), which is what is left where t**power underflows.
    return np.maximum(t ** (1 / power), np.maximum(inside, 0.0) * math.gamma(1 + 1 / power) * (1 - 1e-14))


@lru_cache(maxsize=32)
def table(power: float) -> FlowTable:
    """For a power below 1: Φ(p) = (1 - exp(-G⁻¹(2p))) / (2Γ(1 + 1/power))."""
    whole = 2 * math.gamma(1 + 1 / power)
    return FlowTable(lambda p: -np.expm1(-special.gammaincinv(1 / power, 2 * p)) / whole)


def error(noise: ExponentialPower, dim: int | None) -> float:
    """SciPy's quantiles err by less than 1e-13 of themselves; the table says its own error."""
    return scale(noise) * (1e-12 if noise.p >= 1 else table(noise.p).error)


NORMS = {"l1": by_flow(time, error=error)}
