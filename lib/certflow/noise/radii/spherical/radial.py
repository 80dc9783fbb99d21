"""The radial part of generalised Gaussian noise, and quadrature over it.

The noise N^g(k, sigma) on R^d has density ~ ||x||^(-2k) exp(-||x||^2 / (2 s^2)), s = sigma sqrt(d/(d - 2k)). Its radial
coordinate t = ||x||^2 / (2 s^2) follows Gamma(a, 1), a = d/2 - k. Integrals over t are taken in x = sqrt(t), in which the
density 2 x^(2a-1) e^(-x^2) / Gamma(a) is a polynomial times a Gaussian, by composite Gauss-Legendre rules.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from certflow.noise.radii.spherical.stirling import remainder

TAIL = 1e-15
"""Mass that is cut off at either end of the radial law."""


class RadialLaw:
    """Gamma(a, 1) in x = sqrt(t), cut off at `low` and `high`. `d`, `k`: of the noise; `unit` = sigma / s = sqrt(2a/d)."""

    def __init__(self, d: int, k: int):
        self.d, self.k, self.a = d, k, d / 2 - k
        self.unit = math.sqrt(2 * self.a / d)
        self.low, self.high = (
            math.sqrt(special.gammaincinv(self.a, TAIL)),
            math.sqrt(special.gammainccinv(self.a, TAIL)),
        )
        self._log_scale = 0.5 * math.log(2 * self.a / math.pi) - remainder(self.a)

    def density(self, x: np.ndarray) -> np.ndarray:
        """Density of x = sqrt(t). Formed from the distance to t = a, as powers of t would lose digits for large a."""
        off = np.square(x) / self.a - 1
        return np.exp(self.a * (np.log1p(off) - off) + self._log_scale) / x


@lru_cache(maxsize=32)
def radial_law(d: int, k: int) -> RadialLaw:
    return RadialLaw(d, k)


@lru_cache(maxsize=32)
def gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    place, weight = np.polynomial.legendre.leggauss(nodes)
    return (place + 1) / 2, weight / 2


def panels(edges: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Composite rule between ascending edges [rows, panels + 1]: nodes and weights, each [rows, panels * nodes]."""
    place, weight = gauss(nodes)
    width = np.diff(edges, axis=-1)[..., None]
    where = edges[..., :-1, None] + width * place
    shape = (*edges.shape[:-1], -1)
    return where.reshape(shape), (width * weight).reshape(shape)
