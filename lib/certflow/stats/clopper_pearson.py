"""One-sided Clopper-Pearson bounds on a binomial probability.

With k successes among n independent draws of success probability p, the lower bound at level alpha is the number L that solves

    P(Bin(n, L) >= k) = alpha,     L = 0 for k = 0,     L = alpha^(1/n) for k = n,

so P(L(k, n, alpha) > p) <= alpha for every p (Clopper and Pearson 1934). It is a quantile of the beta law:
L = BetaInv(alpha; k, n - k + 1).

Certified radii depend on 1 - L, which for confident images lies near 0 where L itself has lost its digits. All bounds are
therefore also offered from the failure side, 1 - L, with full relative accuracy.

Accuracy. The inverse is SciPy's (Boost). Put back into the tail equation in 40-digit arithmetic its results reproduced alpha
to a relative 7e-11 for n <= 1e5, 2e-9 for n <= 1e6, 9e-9 for n <= 1e7 and 4e-8 for n <= 1e8. From n = 1e12 on they err, to the
unsafe side, by percents and more; hence `LARGEST_N`. So they do at small levels: from 2e-15 on by more than the guard of
`certflow.certify.bounds`, below 1e-250 by factors of a million and more; hence `LEAST_LEVEL`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.checks import level, whole
from certflow.stats.crossing import first_good
from certflow.stats.limits import LARGEST_N, LEAST_LEVEL

Bound = np.ndarray | np.float64


def clopper_pearson_lower(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> Bound:
    """Lower confidence bound L on a success probability, wrong (too large) with probability at most `alpha`.

    k successes, whole, 0 <= k <= n; n draws, whole, 1 <= n <= LARGEST_N; alpha in (LEAST_LEVEL, 1). The three broadcast; the
    result is float64 of their common shape (a scalar for scalars). Rounded to nearest, with full relative accuracy near 0.
    ValueError for anything outside these ranges, NaN included. About 3 microseconds per bound.
    """
    k, n, alpha = checked_arguments(k, n, alpha)
    bound = np.where(k == n, np.exp(np.log(alpha) / n), special.betaincinv(k, n - k + 1, alpha))
    return np.where(k == 0, 0.0, bound)[()]


def clopper_pearson_failure(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> Bound:
    """1 - L(k, n, alpha), with full relative accuracy near 0. Arguments and errors as in `clopper_pearson_lower`."""
    return plug_in_failure(*checked_arguments(k, n, alpha))


def clopper_pearson_upper(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> Bound:
    """Upper confidence bound U(k, n, alpha) = 1 - L(n - k, n, alpha), too small with probability at most `alpha`.

    Arguments and errors as in `clopper_pearson_lower`. Full relative accuracy near 0.
    """
    k, n, alpha = checked_arguments(k, n, alpha)
    return plug_in_failure(n - k, n, alpha)


def plug_in_failure(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> Bound:
    """1 - L(k, n, alpha) for real 0 <= k <= n: what planners put in for k when they expect n*p successes.

    The arguments broadcast and are not checked. For whole k this is `clopper_pearson_failure`; for other k it interpolates
    monotonically and is not a confidence bound.
    """
    k, n, alpha = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (k, n, alpha)))
    failure = np.where(k == n, -np.expm1(np.log(alpha) / n), special.betainccinv(n - k + 1, k, alpha))
    return np.where(k <= 0, 1.0, failure)[()]


def smallest_count_to_certify(n: ArrayLike, alpha: float) -> np.ndarray:
    """The smallest k with L(k, n, alpha) > 1/2 (int64, shape of n); n + 1 where not even k = n suffices.

    n: whole, 1 <= n <= LARGEST_N; alpha in (0, 1). Bisection on P(Bin(n, 1/2) >= k) < alpha, which says the same.
    """
    n, alpha = whole("n", n, low=1, high=LARGEST_N), float(level("alpha", alpha))
    return first_good(0, n + 1, lambda k: special.betainc(k, np.maximum(n - k, 0) + 1, 0.5) < alpha)


def checked_arguments(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> list[np.ndarray]:
    """k, n (int64) and alpha (float64), broadcast, if they are in the ranges of `clopper_pearson_lower`; else ValueError."""
    n = whole("n", n, low=1, high=LARGEST_N)
    k = whole("k", k, low=0, high=LARGEST_N)
    k, n, alpha = np.broadcast_arrays(k, n, level("alpha", alpha, low=LEAST_LEVEL))
    over = k > n
    if over.any():
        raise ValueError(f"k: must not exceed n, got k={k[over].flat[0]} of n={n[over].flat[0]}")
    return [k, n, alpha]
