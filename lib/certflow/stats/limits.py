"""How few draws can decide anything, and how many a bound can be computed for. Needs no package."""

import math

USUAL_ALPHA = 0.001
"""Probability of error per image where nobody says which: that of the papers' tables."""

LARGEST_N = 10**8
"""Most draws that a bound is computed for: up to here the accuracy of the inverse beta function has been verified."""

LEAST_LEVEL = 1e-12
"""Levels of a single bound must lie above this: the error of the inverse beta function grows as they fall. At 2e-15 it was
first seen to be larger than what certificates give away to it, and below 1e-250 it is one of many orders of magnitude."""

LEAST_ALPHA = 1e-9
"""The least alpha of certificates and samplers: shares of it, such as a half for each of two bounds, stay above `LEAST_LEVEL`,
and sizes of tests that look again and again, which are computed to some 1e-15, upwards, lose little."""

LARGEST_MATRIX = 5000
"""Points of which a matrix of all pairs is held (200 MB)."""

LEAST_RANKED = 4
"""Pairs of values below which a rank correlation tells nothing: of three values six orders are possible, and chance alone
gives a perfect one of either direction every third time."""


def smallest_n_to_certify(alpha: float) -> int:
    """The smallest n with alpha^(1/n) > 1/2: with fewer draws even n hits of n leave the lower bound at 1/2 or below.

    alpha in (0, 1): the level of the bound.
    """
    return math.floor(-math.log2(alpha)) + 1


def smallest_n_to_predict(alpha: float) -> int:
    """The smallest n with 2^(1-n) <= alpha: with fewer votes even a unanimous p-value exceeds alpha, in (0, 1)."""
    return 1 + math.ceil(-math.log2(alpha))
