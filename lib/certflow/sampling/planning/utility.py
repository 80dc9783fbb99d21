"""What n draws are expected to be worth on an image whose selected class is missed with probability q.

    V(n, q) = E[ max(0, r(1 - L(n - F, n, alpha))) ] + w P(the image is certified at all),     F ~ Bin(n, q),   V(0, q) = 0,

r being `Scale.radius`, z(1 - failure) under Gaussian noise in l2: the expected radius in units of sigma, and a bonus
w for a certified prediction. Means are sums over the law of F, exact where it is narrow.
"""

from functools import lru_cache

import numpy as np
from scipy import special

from certflow.sampling.planning.scale import Scale
from certflow.stats import plug_in_failure, smallest_count_to_certify

RATIO = 1.04
"""Largest step between neighbouring numbers of draws on the grid."""
NODES = 96
"""Values of F that a mean is taken over."""
KNOTS = 256
"""Radii computed per n; the others are interpolated in log(F + 1), under Gaussian noise with an error below 1e-7 sigma."""


def draws_grid(n_min: int, n_max: int, granularity: int) -> np.ndarray:
    """int64, increasing: 0, then n_min to n_max in steps of at most RATIO or of one granularity."""
    points = int(np.ceil(np.log(n_max / n_min) / np.log(RATIO))) + 1
    steps = np.round(np.geomspace(n_min, n_max, points) / granularity).astype(np.int64) * granularity
    return np.unique(np.concatenate([[0], np.clip(steps, n_min, n_max), [n_min, n_max]]))


@lru_cache(maxsize=8)
def failure_grid() -> tuple[np.ndarray, np.ndarray]:
    """(q, edges): 210 failure probabilities, 150 of them log-spaced from 1e-8, and the 211 edges of their cells."""
    q = np.concatenate([np.geomspace(1e-8, 0.3, 150), np.linspace(0.305, 0.9, 60)])
    edges = np.concatenate([[0.0], (q[:-1] + q[1:]) / 2, [q[-1]]])
    for part in (q, edges):
        part.setflags(write=False)
    return q, edges


@lru_cache(maxsize=16)
def utility(
    n_min: int, n_max: int, granularity: int, alpha: float, weight: float, scale: Scale
) -> tuple[np.ndarray, np.ndarray]:
    """(n, V): the grid of draws, int64 [draws], and V float64 [draws, failure_grid()], both read-only. Kept per process."""
    n, q = draws_grid(n_min, n_max, granularity), failure_grid()[0]
    hits = smallest_count_to_certify(np.maximum(n, 1), alpha)
    table = np.zeros((len(n), len(q)))
    for row in range(1, len(n)):
        most = n[row] - hits[row]  # misses with which the image is still certified
        if most >= 0:
            table[row] = _expected_radius(int(n[row]), q, int(most), alpha, scale) + weight * special.bdtr(
                most, n[row], q
            )
    for part in (n, table):
        part.setflags(write=False)
    return n, table


def _expected_radius(n: int, q: np.ndarray, most: int, alpha: float, scale: Scale) -> np.ndarray:
    """E[max(0, r(1 - L(n - F, n, alpha)))] for each q, in units of sigma; radii are 0 beyond `most` misses."""
    misses, weight = _law_of_misses(n, q)
    return (weight * _radii(n, most, alpha, misses, scale)).sum(axis=1)


def _law_of_misses(n: int, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [q, NODES] for means over Bin(n, q): every value within 5 standard deviations, or evenly spaced ones.

    A smooth density summed on an even lattice finer than its width loses nothing to speak of; the kink where radii begin, at
    q = 1/2, costs up to 1e-5.
    """
    mean, spread = n * q, 5 * np.sqrt(n * q * (1 - q)) + 5
    first, last = np.floor(np.maximum(mean - spread, 0)), np.ceil(np.minimum(mean + spread, n))
    stride = np.ceil((last - first) / (NODES - 1))
    misses = first[:, None] + stride[:, None] * np.arange(NODES)
    inside = misses <= n
    misses = np.minimum(misses, n)
    log_mass = special.xlogy(misses, q[:, None]) + special.xlog1py(n - misses, -q[:, None])
    log_mass -= special.gammaln(misses + 1) + special.gammaln(n - misses + 1)
    mass = np.where(inside, np.exp(log_mass - log_mass.max(axis=1, keepdims=True)), 0.0)
    return misses, mass / mass.sum(axis=1, keepdims=True)


def _radii(n: int, most: int, alpha: float, misses: np.ndarray, scale: Scale) -> np.ndarray:
    """max(0, r(1 - L(n - F, n, alpha))) at the values F of `misses`, interpolated by a cubic spline in log(F + 1)."""
    from scipy.interpolate import CubicSpline

    if most == 0:
        return np.where(misses <= most, _radius(0.0, n, alpha, scale), 0.0)
    knots = np.unique(np.geomspace(1, most + 1, KNOTS) - 1)
    spline = CubicSpline(np.log1p(knots), _radius(knots, n, alpha, scale))
    return np.where(misses <= most, np.maximum(spline(np.log1p(np.minimum(misses, most))), 0.0), 0.0)


def _radius(misses: np.ndarray | float, n: int, alpha: float, scale: Scale) -> np.ndarray:
    return scale.radius(plug_in_failure(n - np.asarray(misses), n, alpha))
