"""l1 radii of Pareto noise by the differential method (Yang et al. 2020)."""

from functools import lru_cache

import numpy as np

from certflow.noise.kinds.pareto import Pareto
from certflow.noise.radii.checks import scale
from certflow.noise.radii.flow import FlowTable
from certflow.noise.radii.two_bounds import by_flow


@lru_cache(maxsize=32)
def table(a: float) -> FlowTable:
    """Φ(p) = a(1 - (1 - 2p)^(1 + 1/a))/2. The integral is (u/a)·₂F₁(1, b; b + 1; u^(1 + 1/a)), u = 1 - 2p, b = a/(a + 1)."""

    def rate(p: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return -a / 2 * np.expm1((1 + 1 / a) * np.log1p(-2 * p))

    return FlowTable(rate)


def time(p: np.ndarray, noise: Pareto, dim: int | None) -> np.ndarray:
    """From the table."""
    return scale(noise) * table(noise.a).time(p)


def error(noise: Pareto, dim: int | None) -> float:
    """The table's."""
    return scale(noise) * table(noise.a).error


NORMS = {"l1": by_flow(time, error=error)}
