"""The p-value behind PREDICT: is the class that won among n draws the true winner?"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.checks import whole
from certflow.stats.limits import LARGEST_N


def prediction_p_value(n1: ArrayLike, n2: ArrayLike) -> np.ndarray | np.float64:
    """p-value of "the class with the most votes is not the most probable one".

    n1, n2: votes of the two leading classes (whole, not negative, at most LARGEST_N each; they broadcast, and their order does
    not matter). Returns min(1, 2 P(Bin(n1 + n2, 1/2) >= max(n1, n2))), float64. The factor 2 pays for having picked the winner
    by looking at the same votes; announcing a class only when the p-value is at most alpha is wrong with probability at most
    alpha, for any number of classes (Hung and Fithian 2019; Cohen et al. 2019, Proposition 2).

    The tail is the regularised incomplete beta function I_{1/2}(n1, n2 + 1). ValueError for numbers that cannot be counts.
    """
    first = whole("n1", n1, low=0, high=LARGEST_N)
    second = whole("n2", n2, low=0, high=LARGEST_N)
    most, least = np.maximum(first, second), np.minimum(first, second)
    tail = special.betainc(most, least + 1.0, 0.5)
    return np.where(most == least, 1.0, np.minimum(1.0, 2.0 * tail))[()]
