"""A test of "p is at most p0" that may be looked at as often as one likes (a Jeffreys mixture as an e-process).

Each likelihood ratio of a p' > p0 against p0 is a non-negative supermartingale under every p <= p0, and so is their mixture
with the Jeffreys prior cut to (p0, 1). By Ville's inequality it ever reaches 1/alpha with probability at most alpha: whatever
the looks, and whatever makes one stop. (Ville 1939; Robbins 1970 for mixtures; Voráček 2024 for smoothing.)
"""

import math

import numpy as np
from scipy import special

from certflow.stats.crossing import first_good

MARGIN = 1e-6
"""Nats by which the threshold is raised: above the rounding of `log_e_value` (3e-7 at n = 1e8, 2e-9 at 1e6), and no loss."""


def log_e_value(k: np.ndarray, n: np.ndarray, p0: np.ndarray | float, q0: np.ndarray | float) -> np.ndarray:
    """ln E of k hits in n draws against p <= p0, for k >= n p0 (elsewhere it underflows to -inf at worst). q0 = 1 - p0.

    All broadcast. E = ∫ over (p0, 1) of Jeffreys(p') (p'/p0)^k ((1-p')/q0)^(n-k), normalised to the cut interval.
    """
    k, n = np.asarray(k, np.float64), np.asarray(n, np.float64)
    a, b = k + 0.5, n - k + 0.5
    with np.errstate(divide="ignore"):
        inside = np.log(special.betaincc(a, b, p0))
    cut = np.log(2 / math.pi * np.arcsin(np.sqrt(q0)))
    return special.betaln(a, b) + inside - math.log(math.pi) - cut - k * np.log(p0) - (n - k) * np.log(q0)


def acceptance_counts(looks: np.ndarray, p0: float, q0: float, level: float) -> np.ndarray:
    """int64 [looks]: the least count at which "p <= p0" is rejected at `level`; n + 1 where no count does.

    Found by bisection on whole numbers: ln E grows with k from k = n p0 on.
    """
    goal = math.log(1 / level) + MARGIN
    below = np.ceil(looks * p0) - 1  # never rejects: ln E <= 0 up to n p0
    return first_good(below, looks + 1, lambda k: log_e_value(np.minimum(k, looks), looks, p0, q0) >= goal)


def look_schedule(first: int, last: int, growth: float = 1.05) -> np.ndarray:
    """int64: numbers of draws at which one looks, from `first` by `first` or by `growth`, whichever is more, up to `last`."""
    looks = [first]
    while looks[-1] < last:
        step = max(1, int(looks[-1] * (growth - 1.0) / first))
        looks.append(min(last, looks[-1] + first * step))
    return np.array([min(first, last)] if first >= last else looks, np.int64)
