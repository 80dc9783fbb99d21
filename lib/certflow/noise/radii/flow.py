"""Radii by the differential method where the integral has no closed form (Yang et al. 2020): one table certifies every image.

With Φ(p) the largest rate at which the mass of a set of mass p can grow while the law is shifted, p reaches 1/2 no sooner than
after T(p) = ∫ of dp/Φ from p to 1/2. In u = -ln(2p) this is ∫ of p/Φ(p) du from 0: smooth, of moderate size, and tabulated by
8-point Gauss rules on even cells; between them by cubics with exact values and slopes.
"""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from certflow.noise.radii.spherical.radial import gauss

LARGEST = 30.0
"""The table ends at p = exp(-30)/2; smaller masses count as that one, which only loses."""
CELLS = 2000


class FlowTable:
    """T(p) for a law of unit scale, with a bound on the table's error."""

    def __init__(self, rate: Callable[[np.ndarray], np.ndarray]):
        def slope(u: np.ndarray) -> np.ndarray:
            p = np.exp(-u) / 2
            return p / rate(p)

        u = np.linspace(0.0, LARGEST, CELLS + 1)
        cells, halves = _cells(slope, u, 8), _cells(slope, (u[:-1], (u[:-1] + u[1:]) / 2), 8)
        value = np.concatenate([[0.0], np.cumsum(cells)])
        self._table = CubicHermiteSpline(u, value, slope(u))
        between = np.abs(self._table((u[:-1] + u[1:]) / 2) - value[:-1] - halves).max()
        rule = np.abs(cells - _cells(slope, u, 5)).sum()
        self.error = float(2 * between + rule + 1e-12 * value[-1])

    def time(self, p: np.ndarray) -> np.ndarray:
        """T(p), p in [0, 1/2], to within `error`; where p lies beyond the table's end, T of the end."""
        with np.errstate(divide="ignore"):
            return self._table(np.clip(-np.log(2 * np.asarray(p)), 0.0, LARGEST))


def _cells(slope: Callable[[np.ndarray], np.ndarray], edges, nodes: int) -> np.ndarray:
    """Integrals over cells between edges, or from the first to the second of a pair of edges."""
    low, high = edges if isinstance(edges, tuple) else (edges[:-1], edges[1:])
    place, weight = gauss(nodes)
    return (high - low) * (slope(low[:, None] + (high - low)[:, None] * place) @ weight)
