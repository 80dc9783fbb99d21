"""A lower bound on a probability that holds at every moment at once: look as often as you like, stop when you like.

The largest p0 that the e-process of `certflow.stats.sequential` has rejected so far. The truth p is rejected at any time with
probability at most alpha (Ville), and rejections of p0 < p cannot hurt, so P(the bound ever exceeds p) <= alpha.
"""

import numpy as np
from numpy.typing import ArrayLike

from certflow.stats.checks import level, whole
from certflow.stats.complement import complement_down
from certflow.stats.crossing import first_good
from certflow.stats.limits import LARGEST_N
from certflow.stats.sequential import MARGIN, log_e_value

STEPS = 60


def anytime_failure(k: ArrayLike, n: ArrayLike, alpha: float) -> np.ndarray:
    """float64: an upper bound on 1 - p from k hits in n draws, rounded up; 1 for k = 0. P(it is ever below 1 - p) <= alpha.

    k, n: whole, 0 <= k <= n, 1 <= n <= `LARGEST_N`; they broadcast. alpha in (0, 1). ValueError for values outside these
    ranges. Bisection between 1 - k/n, at which nothing is rejected, and 1; what is returned was rejected.
    """
    k, n = np.broadcast_arrays(whole("k", k, low=0, high=LARGEST_N), whole("n", n, low=1, high=LARGEST_N))
    if (k > n).any():
        raise ValueError(f"k: must not exceed n, got {k[k > n].flat[0]} of {n[k > n].flat[0]}")
    goal = _goal(alpha)
    low, high = (n - k) / n, np.ones(n.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(STEPS):
            q0 = (low + high) / 2
            rejected = log_e_value(k, n, 1.0 - q0, q0) >= goal
            low, high = np.where(rejected, low, q0), np.where(rejected, q0, high)
    return np.where(k == 0, 1.0, high)[()]


def anytime_lower(k: ArrayLike, n: ArrayLike, alpha: float) -> np.ndarray:
    """float64: a lower bound on p from k hits in n draws. P(it ever exceeds p, at any n) <= alpha.

    Rounded down: what was rejected is 1 - failure as it is rounded, not the failure.

    Arguments and errors as in `anytime_failure`. Of the fixed-n radius it gives 0.96 at n = 10,000 and 0.985 and more at
    100,000.
    """
    return complement_down(anytime_failure(k, n, alpha))[()]


def smallest_n_to_certify_anytime(alpha: float) -> int:
    """The smallest n whose n hits give a lower bound above 1/2 at level alpha in (0, 1), whatever was looked at before."""
    goal = _goal(alpha)
    return int(first_good(0, LARGEST_N, lambda n: log_e_value(n, n, 0.5, 0.5) >= goal))


def _goal(alpha: float) -> float:
    """The ln E from which on p0 is rejected; ValueError for an alpha outside (0, 1)."""
    return np.log(1 / float(level("alpha", alpha))) + MARGIN
