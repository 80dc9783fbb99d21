"""The distribution of a probability over images, from a few draws of each image.

Image i has an unknown probability p_i and shows k_i hits in n_i draws. Wanted is the law of p over images, as a density of the
probit z = Phi^-1(p) on a grid: weights that sum to 1. The likelihood of (k, n) is the binomial one. If the number of draws was
chosen by a rule that looks at the hits so far, it is still the binomial one up to a factor that does not depend on p.

Two fits and what they give together. `npmle` (Kiefer and Wolfowitz 1956; EM) puts no shape into the density; stopped after a
stated number of steps from a flat start, it stays smooth. `coefficients` (Efron 2016, the g-model) takes log densities in
natural splines, with a penalty on their length that is the lighter, the more images there are. `law_of` starts EM at the
g-model: the first step makes of it the mean of all images' posteriors, and a few more undo what the splines smoothed away.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

GRID = np.linspace(-3.0, 5.0, 241)
"""Probits of p that weights are put on: p from 0.0013 to 1 - 3e-7."""
DEGREES = 14
"""Splines of the g-model."""
EM_STEPS = 5
"""Steps of EM from the g-model on. Fewer leave more of its bias, more let chance in (`benchmarks/estimate.py`)."""


@dataclass(frozen=True)
class Observed:
    """Images gathered by what they show."""

    likelihood: np.ndarray
    """float64 [patterns, grid]: of each pattern (k, n) at each grid point, the largest of a row being 1."""
    images: np.ndarray
    """float64 [patterns]: how many images show it."""
    pattern: np.ndarray
    """int64 [images]: the pattern of each image."""


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


def npmle(data: Observed, steps: int = 200) -> np.ndarray:
    """float64 [grid]: weights after so many EM steps from a flat start. Each step raises the likelihood."""
    weights = np.full(len(GRID), 1 / len(GRID))
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


def density(beta: np.ndarray) -> np.ndarray:
    """float64 [grid]: weights whose log is the spline of these coefficients, up to a constant."""
    return special.softmax(splines(len(beta)) @ beta)


def coefficients(data: Observed, degrees: int = DEGREES) -> np.ndarray:
    """float64 [degrees]: maximum of log likelihood - |beta| (Efron 2016, section 2)."""
    from scipy.optimize import minimize

    basis, images = splines(degrees), data.images.sum()

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = special.softmax(basis @ beta)
        seen = data.likelihood @ weights
        length = _length(beta)
        pull = weights * ((data.images / seen) @ data.likelihood - images)
        value = -data.images @ np.log(seen) + length
        return value / images, (-basis.T @ pull + beta / length) / images

    options = {"maxiter": 300, "ftol": 1e-11}
    return minimize(loss, np.zeros(degrees), jac=True, method="L-BFGS-B", options=options).x


def _length(beta: np.ndarray) -> float:
    return float(np.sqrt(beta @ beta + 1e-12))


@dataclass(frozen=True)
class Law:
    """The law of z over the population that images were taken from, and how each image moved its estimate."""

    weights: np.ndarray
    """float64 [grid]"""
    influence: np.ndarray
    """float64 [patterns, grid]: derivative of the weights by the share of images that show a pattern."""
    images: np.ndarray
    """float64 [patterns]: how many images show it."""

    def mean(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of values [grid, ...] over the law, and its standard error over samples of images and draws.

        The error is that of the infinitesimal jackknife (Efron 1982): to first order it is the bootstrap's over images.
        Penalty and number of EM steps are held fixed, and what smoothing shifts is not in it.
        """
        total = self.images.sum()
        moved = self.influence @ values
        moved = moved - self.images @ moved / total
        return self.weights @ values, np.sqrt(self.images @ np.square(moved)) / total


def law_of(data: Observed, steps: int = EM_STEPS) -> Law:
    """EM from the g-model on, with its derivative carried along. Time: some 20 ms; memory: 8 bytes * patterns * grid."""
    weights, influence = _from_splines(data)
    share = data.images / data.images.sum()
    for _ in range(steps):
        seen = data.likelihood @ weights
        pull = (share / seen) @ data.likelihood
        bend = (data.likelihood * (share / seen**2)[:, None]).T @ data.likelihood
        change = data.likelihood / seen[:, None] - influence @ bend
        weights, influence = weights * pull, influence * pull + weights * change
    return Law(weights, influence, data.images)


def _from_splines(data: Observed) -> tuple[np.ndarray, np.ndarray]:
    """The g-model's weights [grid] and their derivatives [patterns, grid] by the share of each pattern."""
    beta, total = coefficients(data), data.images.sum()
    basis, weights = splines(len(beta)), density(beta)
    means = (data.likelihood @ (weights[:, None] * basis)) / (data.likelihood @ weights)[:, None]
    scores = means - weights @ basis
    penalty = np.eye(len(beta)) / (_length(beta) * total)
    # Squares of the scores stand for second derivatives, which away from the maximum's heart need not be positive.
    information = (scores * (data.images / total)[:, None]).T @ scores + penalty
    turned = np.linalg.solve(information, scores.T).T @ basis.T
    return weights, weights * (turned - (turned @ weights)[:, None])
