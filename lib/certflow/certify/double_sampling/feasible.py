"""Whether two confidence intervals can belong to one classifier at all; where they cannot, the dual has no bound."""

import numpy as np
from scipy import special


def feasible_truncated(p_lower, p_upper, q_lower, q_upper, share) -> np.ndarray:
    """Q = P on a set of P-mass `share`: Q(A) share <= P(A), and Q(A) share >= P(A) - (1 - share). bool [images]."""
    return (q_lower * share <= p_upper) & (q_upper * share >= p_lower - (1 - share))


def feasible_scaled(a: float, p_lower, p_upper, q_lower, q_upper, b) -> np.ndarray:
    """Q of scale sigma/b, radial law Gamma(a): the extremes of Q(A) given P(A) are attained by balls and their outsides."""
    square = np.square(b)

    def ball(p):
        return special.gammainc(a, square * special.gammaincinv(a, p))

    def outside(p):
        return special.gammaincc(a, square * special.gammainccinv(a, p))

    narrow = b > 1
    most = np.where(narrow, ball(p_upper), outside(p_upper))
    least = np.where(narrow, outside(p_lower), ball(p_lower))
    return (q_lower <= most) & (q_upper >= least)


def overlap(a: float, b: np.ndarray) -> np.ndarray:
    """Bhattacharyya coefficient of P and the Q of scale sigma/b: (2b/(1+b^2))^a."""
    return (2 * b / (1 + np.square(b))) ** a
