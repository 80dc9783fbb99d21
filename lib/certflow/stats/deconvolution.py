"""The distribution of a probability over images, from a few draws of each image.

Image i has an unknown probability p_i and shows k_i hits in n_i draws. Wanted is the law of p over images, as a density of the
probit z = Phi^-1(p) on a grid: weights that sum to 1. The likelihood of (k, n) is the binomial one. If the number of draws was
chosen by a rule that looks at the hits so far, it is still the binomial one up to a factor that does not depend on p.

Three fits. `npmle` (Kiefer and Wolfowitz 1956; EM) puts no shape into the density; stopped after a
stated number of steps from a flat start, it stays smooth. `coefficients` (Efron 2016, the g-model) takes log densities in
natural splines, with a penalty on their length that is the lighter, the more images there are. `smooth` takes log densities
near a parabola, which a normal law has, with a penalty on third derivatives (Silverman 1982): images which the draws cannot
tell apart follow their neighbours. It errs least in how many images lie near one value, and more in shares below a value.

For shares, `law_of` starts EM at the g-model: the first step makes of it the mean of all images' posteriors, and a few more
undo what the splines smoothed away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.checks import whole
from certflow.stats.limits import LARGEST_N

GRID = np.linspace(-3.0, 5.0, 241)
"""Probits of p that weights are put on: p from 0.0013 to 1 - 3e-7."""
CURVES = 22
"""Curves of a smooth log density beside line and parabola: finer ones would turn too much to matter."""
LIGHT = 0.001
"""What line and parabola cost, as if they turned so much: a density that no image holds is flat."""
EM_STEPS = 3
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
    """k hits in n draws of each image, whole numbers [images], 0 <= k <= n <= `LARGEST_N`; n = 0 says nothing of an image."""
    counts = [whole(name, given, low=0, high=LARGEST_N) for name, given in (("k", k), ("n", n))]
    pairs, pattern = np.unique(np.column_stack(counts), axis=0, return_inverse=True)
    hits, draws = pairs[:, :1].astype(np.float64), pairs[:, 1:].astype(np.float64)
    if len(pairs) == 0 or (hits > draws).any():
        raise ValueError("k and n: must be one pair or more with 0 <= k <= n")
    log = hits * special.log_ndtr(GRID) + (draws - hits) * special.log_ndtr(-GRID)
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    pattern = pattern.reshape(-1)
    return Observed(likelihood, np.bincount(pattern).astype(np.float64), pattern)


def npmle(data: Observed, steps: int) -> np.ndarray:
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
    before = knots[:-1]
    d = np.maximum(GRID[:, None] - before, 0.0) ** 3 / (knots[-1] - before)  # no point lies beyond the last knot
    basis = np.column_stack([GRID, d[:, :-1] - d[:, -1:]])
    basis = basis - basis.mean(axis=0)
    vectors, _ = np.linalg.qr(basis / np.abs(basis).max(axis=0))
    return vectors * np.sqrt(len(GRID))


def density(beta: np.ndarray) -> np.ndarray:
    """float64 [grid]: weights whose log is the spline of these coefficients, up to a constant."""
    return special.softmax(splines(len(beta)) @ beta)


def degrees_for(images: float) -> int:
    """How many splines so many images bear: more images show finer shapes. 8 for 500 images, 14 for 5,000."""
    return min(max(round(8 * (images / 500) ** 0.25), 2), 20)


def coefficients(data: Observed) -> np.ndarray:
    """float64 [degrees]: maximum of log likelihood - |beta| (Efron 2016, section 2), with `degrees_for` the images."""
    basis = splines(degrees_for(data.images.sum()))
    return _fitted(data, basis, lambda beta: (_length(beta), beta / _length(beta)))


def _length(beta: np.ndarray) -> float:
    return float(np.sqrt(beta @ beta + 1e-12))


def _fitted(data: Observed, basis: np.ndarray, penalty: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> np.ndarray:
    """float64 [columns]: coefficients of a log density in `basis` whose log likelihood less their penalty is largest.

    penalty: its value and gradient.
    """
    from scipy.optimize import minimize

    images = data.images.sum()

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = special.softmax(basis @ beta)
        seen = data.likelihood @ weights
        pull = weights * ((data.images / seen) @ data.likelihood - images)
        value, slope = penalty(beta)
        return (value - data.images @ np.log(seen)) / images, (slope - basis.T @ pull) / images

    return minimize(loss, np.zeros(basis.shape[1]), jac=True, method="L-BFGS-B", options={"ftol": 1e-11}).x


def smooth(data: Observed, stiffness: float) -> np.ndarray:
    """float64 [grid]: weights whose log f maximises the log likelihood less stiffness / 2 times the mean square of f''' over
    the grid."""
    basis = curves(stiffness)
    return special.softmax(basis @ _fitted(data, basis, lambda c: (c @ c / 2, c)))


@cache
def curves(stiffness: float) -> np.ndarray:
    """float64 [grid, 2 + CURVES]: line and parabola, which cost next to nothing, and orthogonal curves, the smoother the
    larger. The penalty of a log density curves @ c is |c|^2 / 2."""
    points, width = len(GRID), GRID[1] - GRID[0]
    free = np.linalg.qr(np.vander(GRID, 3, increasing=True))[0][:, 1:]
    _, turns, found = np.linalg.svd(np.diff(np.eye(points), n=3, axis=0) / width**3, full_matrices=False)
    smoothest = slice(None, -CURVES - 1, -1)
    return np.hstack([free / LIGHT, found[smoothest].T / turns[smoothest]]) * np.sqrt(points / stiffness)


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
