"""Do two numbers of the same few things rise together? Spearman's rank correlation, and how often chance does as well."""

import math
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from certflow.stats.limits import LEAST_RANKED

EXHAUSTIVE = 8
"""Up to so many pairs all orders are counted, 40,320 of them; beyond, `RESAMPLES` are drawn."""
RESAMPLES = 100_000
ROUNDING = 1e-9
"""Correlations that are equal but for the order of their sums."""


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> tuple[float, float]:
    """Spearman's correlation of x and y [n], and the two-sided p-value of a permutation test.

    p is the share of the orders of y, each as likely as the other under independence, whose correlation with x is at least as
    far from 0; where they are drawn, (1 + as far) / (1 + drawn), which is valid too (Phipson and Smyth 2010). Equal values
    share the mean of their ranks. (NaN, 1) where all of x, or of y, are equal. ValueError for fewer than four values, or
    values that are not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < LEAST_RANKED:
        raise ValueError(
            f"rank correlation: needs {LEAST_RANKED} or more pairs of values, got {list(x.shape)} and {list(y.shape)}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("rank correlation: values must be finite; leave out what has none")
    u, v = _standard(rankdata(x)), _standard(rankdata(y))
    if u is None or v is None:
        return math.nan, 1.0
    found = float(u @ v)
    orders = _orders(len(v), seed)
    as_far = int((np.abs(v[orders] @ u) >= abs(found) - ROUNDING).sum())
    drawn = len(v) > EXHAUSTIVE
    return found, (as_far + drawn) / (len(orders) + drawn)


def _standard(ranks: np.ndarray) -> np.ndarray | None:
    """Ranks about their mean, of length 1; None where all are equal."""
    centred = ranks - ranks.mean()
    length = np.linalg.norm(centred)
    return centred / length if length > 0 else None


def _orders(n: int, seed: int) -> np.ndarray:
    """int64 [orders, n]: all orders of n things, or random ones."""
    if n <= EXHAUSTIVE:
        return np.array(list(permutations(range(n))))
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (RESAMPLES, 1)), axis=1)
