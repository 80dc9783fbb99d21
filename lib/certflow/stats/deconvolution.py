"""The distribution of a probability over images, from a few draws of each image.

Image i has an unknown probability p_i and shows k_i hits in n_i draws. Wanted is the law of p over images, as a density of the
probit z = Phi^-1(p) on a grid: weights that sum to 1. The likelihood of (k, n) is the binomial one. If the number of draws was
chosen by a rule that looks at the hits so far, it is still the binomial one up to a factor that does not depend on p.

Two fits. `npmle` (Kiefer and Wolfowitz 1956; EM) puts no shape into the density; stopped after a stated number of steps from a
flat start, it stays smooth. `smooth` (Efron 2016, the g-model) takes log densities in natural splines, with a penalty on their
wiggles that is the lighter, the more images there are.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

GRID = np.linspace(-3.0, 5.0, 241)
"""Probits of p that weights are put on: p from 0.0013 to 1 - 3e-7."""


@dataclass(frozen=True)
class Observed:
    """Images gathered by what they show."""

    likelihood: np.ndarray
    """float64 [patterns, grid]: of each pattern (k, n) at each grid point, the largest of a row being 1."""
    images: np.ndarray
    """float64 [patterns]: how many images show it."""
    pattern: np.ndarray
    """int64 [images]: the pattern of each image."""

    def resampled(self, weights: np.ndarray) -> "Observed":
        """The same with other numbers of images: weights float64 [patterns]."""
        return Observed(self.likelihood, weights, self.pattern)


def observed(k: ArrayLike, n: ArrayLike) -> Observed:
    """k hits in n draws of each image, whole numbers [images], 0 <= k <= n; n = 0 says nothing of an image."""
    pairs, pattern = np.unique(np.column_stack([np.asarray(k), np.asarray(n)]), axis=0, return_inverse=True)
    hits, draws = pairs[:, :1].astype(np.float64), pairs[:, 1:].astype(np.float64)
    if len(pairs) == 0 or (hits < 0).any() or (hits > draws).any():
        raise ValueError("k and n: must be one pair or more with 0 <= k <= n")
    log = hits * special.log_ndtr(GRID) + (draws - hits) * special.log_ndtr(-GRID)
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    pattern = pattern.reshape(-1)
    return Observed(likelihood, np.bincount(pattern).astype(np.float64), pattern)


def npmle(data: Observed, steps: int = 200, start: np.ndarray | None = None) -> np.ndarray:
    """float64 [grid]: weights after so many EM steps from `start` (flat). Each step raises the likelihood."""
    weights = np.full(len(GRID), 1 / len(GRID)) if start is None else start
    share = data.images / data.images.sum()
    for _ in range(steps):
        weights = weights * ((share / (data.likelihood @ weights)) @ data.likelihood)
    return weights / weights.sum()


@cache
def splines(degrees: int) -> np.ndarray:
    """float64 [grid, degrees]: an orthonormal basis of the natural cubic splines with degrees + 1 knots, without constants."""
    knots = np.linspace(GRID[0], GRID[-1], degrees + 1)
    cubes = np.maximum(GRID[:, None] - knots, 0.0) ** 3
    d = (cubes[:, :-1] - cubes[:, -1:]) / (knots[-1] - knots[:-1])
    basis = np.column_stack([GRID, d[:, :-1] - d[:, -1:]])
    basis = basis - basis.mean(axis=0)
    vectors, _ = np.linalg.qr(basis / np.abs(basis).max(axis=0))
    return vectors * np.sqrt(len(GRID))


def smooth(data: Observed, degrees: int = 12, penalty: float = 1.0, start: np.ndarray | None = None) -> np.ndarray:
    """float64 [grid]: weights whose log is a natural spline, by penalised likelihood."""
    return density(coefficients(data, degrees, penalty, start))


def density(beta: np.ndarray) -> np.ndarray:
    """Weights on the grid of spline coefficients."""
    return special.softmax(splines(len(beta)) @ beta)


def coefficients(
    data: Observed, degrees: int = 12, penalty: float = 1.0, start: np.ndarray | None = None
) -> np.ndarray:
    """float64 [degrees]: maximum of log likelihood - penalty * |beta| (Efron 2016, section 2)."""
    from scipy.optimize import minimize

    basis, images = splines(degrees), data.images.sum()

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = special.softmax(basis @ beta)
        seen = data.likelihood @ weights
        length = np.sqrt(beta @ beta + 1e-12)
        pull = weights * ((data.images / seen) @ data.likelihood - images)
        value = -data.images @ np.log(seen) + penalty * length
        return value / images, (-basis.T @ pull + penalty * beta / length) / images

    first = np.zeros(degrees) if start is None else start
    return minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-11}).x
