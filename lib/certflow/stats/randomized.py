"""Randomised Clopper-Pearson bounds: exact coverage for a discrete law.

A count is discrete, so the plain bound L(k, n, alpha) fails with a probability below alpha for nearly every p. With a variate
u, uniform on (0, 1] and independent of everything else, the bound Lr that solves

    (1 - u) P(Bin(n, Lr) >= k + 1) + u P(Bin(n, Lr) >= k) = alpha

fails with probability exactly alpha (Stevens 1950; it inverts the most powerful randomised test). u = 1 gives L(k, n, alpha),
u -> 0 gives L(k + 1, n, alpha), so Lr never lies below the plain bound; for k = n it is (alpha / u)^(1/n).

u must be drawn once and kept: whoever draws again until the bound pleases has no bound.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.clopper_pearson import Bound, checked_arguments, plug_in_failure

SMALLEST_U = 0.02
"""Smaller variates are raised to this: near 0 a full count would be bounded by 1 and its radius without limit."""
STEPS = 24
"""Most steps of the root search; most bounds need fewer than ten, and an unfinished one is too low, never too high."""
CLOSE = 1e-15
"""Relative width of the bracket at which the search ends."""


def effective_u(u: ArrayLike, alpha: float) -> np.ndarray:
    """u raised to at least max(SMALLEST_U, 2 alpha), which can only lower the bound and keeps (alpha / u)^(1/n) below 1."""
    return np.maximum(np.asarray(u, np.float64), max(SMALLEST_U, 2 * alpha))


def randomized_failure(k: ArrayLike, n: ArrayLike, alpha: ArrayLike, u: ArrayLike) -> Bound:
    """1 - Lr(k, n, alpha, u), with full relative accuracy near 0.

    k, n, alpha as in `clopper_pearson_lower`; u in (alpha, 1]. All broadcast. The true root lies at or below what is returned,
    up to the rounding of the tail probability. ValueError outside these ranges. About 20 microseconds per bound.
    """
    k, n, alpha = checked_arguments(k, n, alpha)
    u = np.asarray(u, np.float64)
    if not ((u > alpha) & (u <= 1)).all():
        raise ValueError("u: must lie in (alpha, 1]; see effective_u")
    k, n, alpha, u = (part.astype(np.float64) for part in np.broadcast_arrays(k, n, alpha, u))
    found = np.where(k == n, -np.expm1(np.log(alpha / u) / n), plug_in_failure(k, n, alpha))
    inner = (k > 0) & (k < n) & (u < 1) & (found < 1)  # 1 - L is 1 in float64 where L is below 1e-16
    if inner.any():
        found[inner] = _search(*(part[inner] for part in (k, n, alpha, u)))
    return found[()]


def randomized_upper(k: ArrayLike, n: ArrayLike, alpha: ArrayLike, u: ArrayLike) -> Bound:
    """The upper bound 1 - Lr(n - k, n, alpha, u): too small with probability alpha. Not above the plain upper bound; grows
    with k for any two variates, since Lr(j) <= L(j + 1) <= Lr(j + 1)."""
    k, n, alpha = checked_arguments(k, n, alpha)
    return randomized_failure(n - k, n, alpha, u)


def _search(k: np.ndarray, n: np.ndarray, alpha: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The root for 0 < k < n, u < 1, from the safe side. [bounds]

    Regula falsi with the Illinois rule on log tail over log failure, which is nearly straight. `safe` always holds a failure
    probability whose tail is at most alpha, so that stopping early gives away radius, never coverage.
    """
    safe, bold = (np.asarray(plug_in_failure(count, n, alpha)) for count in (k, k + 1))
    goal = np.log(alpha)
    left, right = np.minimum(_log_tail(k, n, u, safe) - goal, 0.0), np.maximum(_log_tail(k, n, u, bold) - goal, 0.0)
    moved = np.zeros(len(k), np.int8)
    open_ = np.flatnonzero((safe - bold > CLOSE * safe) & (left < 0) & (right > 0))
    for _ in range(STEPS):
        if not len(open_):
            break
        a, b, fa, fb = safe[open_], bold[open_], left[open_], right[open_]
        x = np.clip(a * (b / a) ** (fa / (fa - fb)), b, a)
        fx = _log_tail(k[open_], n[open_], u[open_], x) - goal[open_]
        ok = fx <= 0
        safe[open_], bold[open_] = np.where(ok, x, a), np.where(ok, b, x)
        side = np.where(ok, 1, -1).astype(np.int8)
        again = side == moved[open_]
        left[open_] = np.where(ok, fx, np.where(again, fa / 2, fa))
        right[open_] = np.where(ok, np.where(again, fb / 2, fb), fx)
        moved[open_] = side
        open_ = open_[(safe[open_] - bold[open_] > CLOSE * safe[open_]) & (left[open_] < 0)]
    return safe


def _log_tail(k: np.ndarray, n: np.ndarray, u: np.ndarray, failure: np.ndarray) -> np.ndarray:
    """log of (1 - u) P(Bin(n, 1 - failure) >= k + 1) + u P(Bin(n, 1 - failure) >= k), for 0 < k < n."""
    reach, beyond = special.betaincc(n - k + 1, k, failure), special.betaincc(n - k, k + 1, failure)
    return np.log((1 - u) * beyond + u * reach)
