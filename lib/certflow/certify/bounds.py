"""From counts to probabilities: upper bounds on how often the selected class is missed, and on how often another one is hit.

Each bound is computed at a level a little below the nominal one (`guarded`); the difference is far above the rounding errors.
Every bound also allows for `slack`, the distance between the law that was drawn from and the stated one.
"""

import numpy as np
from numpy.typing import ArrayLike

from certflow.stats import (
    LARGEST_N,
    clopper_pearson_failure,
    clopper_pearson_upper,
    effective_u,
    randomized_failure,
    randomized_upper,
)
from certflow.stats.checks import level, whole


def guarded(alpha: float, n: ArrayLike) -> np.ndarray:
    """The level at which bounds of n draws are computed so that rounding cannot push their error above alpha.

    alpha * (1 - 1e-9) up to n = 1e5, then alpha * (1 - 1e-14 n). At levels from `LEAST_ALPHA` on this is at least five times
    the tail error measured for that n (see `certflow.stats.clopper_pearson`) where the bound lies above 1/2, almost twice where
    it lies below. It costs less than 1e-6 * sigma of radius.
    """
    return alpha * (1.0 - 1e-9 * np.maximum(1.0, np.asarray(n) / 1e5))


def failure_bound(
    k: ArrayLike, n: ArrayLike, alpha: float, u: ArrayLike | None = None, slack: float = 0.0
) -> np.ndarray:
    """float64: an upper bound on the probability of missing a class with k hits in n draws, at level alpha.

    k whole, 0 <= k <= n, n >= 1; they broadcast. alpha in (0, 0.5). u: None for the plain bound, else variates uniform on
    (0, 1] for the randomised one (`certflow.stats.randomized`), independent of the counts. slack in [0, 1): by how much the law
    that was drawn from may differ from the stated one in total variation. ValueError for values outside these ranges.
    """
    at, u = _level(alpha, n), _checked_u(u, alpha)
    found = clopper_pearson_failure(k, n, at) if u is None else randomized_failure(k, n, at, u)
    return raised(np.asarray(found), slack)


def two_bounds(
    k: ArrayLike,
    k_other: ArrayLike,
    n: ArrayLike,
    alpha: float,
    u: ArrayLike | None = None,
    u_other: ArrayLike | None = None,
    slack: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(failure, other), float64: `failure_bound` of k, and an upper bound on every other class, at level alpha / 2 each.

    k_other: largest count of any other class in the same n draws. No union over the classes is needed: the true runner-up's
    count is at most k_other and the bound grows with the count. With variates u and u_other (both or neither) both bounds are
    randomised; the upper one grows with the count whatever the variate. Errors as in `failure_bound`.
    """
    if (u is None) != (u_other is None):
        raise ValueError("u, u_other: give both variates or none")
    half, u_other = _level(alpha, n) / 2, _checked_u(u_other, alpha)
    failure = clopper_pearson_failure(k, n, half) if u is None else randomized_failure(k, n, half, _checked_u(u, alpha))
    other = clopper_pearson_upper(k_other, n, half) if u is None else randomized_upper(k_other, n, half, u_other)
    if (np.asarray(k) + np.asarray(k_other) > np.asarray(n)).any():
        raise ValueError("k_other: the counts of two classes must not exceed n together")
    failure, other = raised(np.asarray(failure), slack), raised(np.asarray(other), slack)
    return failure, np.minimum(other, failure)


def checked_level(alpha: float) -> float:
    """`alpha` as a float, if it lies in (0, 0.5); ValueError otherwise."""
    return float(level("alpha", alpha, high=0.5))


def _level(alpha: float, n: ArrayLike) -> np.ndarray:
    return guarded(checked_level(alpha), whole("n", n, low=1, high=LARGEST_N))


def _checked_u(u: ArrayLike | None, alpha: float) -> np.ndarray | None:
    """The variates as they are used; ValueError where they do not lie in (0, 1]."""
    if u is None:
        return None
    u = np.asarray(u, np.float64)
    if not ((u > 0) & (u <= 1)).all():
        raise ValueError("u: variates must lie in (0, 1]")
    return effective_u(u, alpha)


def raised(bound: np.ndarray, slack: float) -> np.ndarray:
    """Upper bounds on probabilities, larger by `slack`, rounded up."""
    if isinstance(slack, bool | str) or not 0 <= slack < 1:
        raise ValueError(f"slack: must lie in [0, 1), got {slack!r}")
    return np.minimum(np.nextafter(bound + slack, np.inf), 1.0) if slack else bound
