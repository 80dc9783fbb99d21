"""Quantiles of the Gamma law on the device: a table of polynomials, evaluated without reading anything back.

With z = Phi^-1(v) the logarithm of the v-quantile is a smooth function of z, on the whole line and for every shape: here it is
a polynomial of degree 7 on each of the panels of width 1/8 between z = -9.5 and 9.5 (v from 1e-21 to 1 - 1e-21). The relative
error of a quantile is below 1e-12 for shapes from 1 to 1e5, below 1e-11 from 0.1 on (tests compare with 40-digit arithmetic).
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from scipy import special
from torch import Tensor

from certflow.noise.tables import on_device

EDGE = 9.5
"""The table covers -EDGE ≤ z ≤ EDGE; the end panels' polynomials serve beyond it."""
PER_UNIT = 8
"""Panels per unit of z."""
DEGREE = 7
LEAST_SHAPE = 0.01
SMALL = 1e-30
"""Below, t is t^shape / Gamma(shape + 1) = v solved for t, as exp(-t) is 1; floating point would lose it near 1e-308."""


def log_quantiles(shape: float, v: Float64[Tensor, " rows"]) -> Float64[Tensor, " rows"]:
    """ln t with Pr[T ≤ t] = v for T ~ Gamma(shape, 1): v strictly between 0 and 1, on any device, shape at least 1/100."""
    table = _table(float(shape), v.device)
    position = (torch.special.ndtri(v) + EDGE) * PER_UNIT
    panel = position.long().clamp(0, len(table) - 1)
    within = (position - panel) * 2 - 1
    coefficients = table.index_select(0, panel).unbind(1)
    value = coefficients[DEGREE]
    for power in range(DEGREE - 1, -1, -1):
        value = torch.addcmul(coefficients[power], within, value)
    return value


@lru_cache(maxsize=64)
def coefficients(shape: float) -> Float64[np.ndarray, "panels powers"]:
    """Of ascending powers of w, which runs from -1 to 1 through a panel: interpolation of ln t at its Chebyshev points."""
    if not shape >= LEAST_SHAPE:
        raise ValueError(f"shape must be at least {LEAST_SHAPE}, got {shape}")
    panels = round(2 * EDGE * PER_UNIT)
    w = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    middles = -EDGE + (np.arange(panels) + 0.5) / PER_UNIT
    centre = _log_quantile(shape, middles)
    # Values relative to the panel's middle: the solve then loses no digits to the size of ln t.
    values = _log_quantile(shape, middles[:, None] + w / (2 * PER_UNIT)) - centre[:, None]
    found = np.linalg.solve(np.vander(w, increasing=True), values.T).T
    found[:, 0] += centre
    return np.ascontiguousarray(found)


_table = on_device(coefficients)


def log_quantiles_of(shape: float, mass: np.ndarray, *, above: bool) -> np.ndarray:
    """ln t with Pr[T > t] = mass where `above`, else with Pr[T ≤ t] = mass; float64, for T ~ Gamma(shape, 1)."""
    t = special.gammainccinv(shape, mass) if above else special.gammaincinv(shape, mass)
    return _logarithm(shape, t, np.log1p(-mass) if above else np.log(mass))


def _log_quantile(shape: float, z: np.ndarray) -> np.ndarray:
    """ln of the Phi(z)-quantile, from the nearer tail."""
    tail = special.ndtr(-np.abs(z))
    t = np.where(z < 0, special.gammaincinv(shape, tail), special.gammainccinv(shape, tail))
    return _logarithm(shape, t, special.log_ndtr(z))


def _logarithm(shape: float, t: np.ndarray, log_mass: np.ndarray) -> np.ndarray:
    """ln t, from ln Pr[T ≤ t] where t is too small."""
    return np.where(t > SMALL, np.log(np.maximum(t, SMALL)), (log_mass + special.gammaln(shape + 1)) / shape)
