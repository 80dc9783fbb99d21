"""From many certificates, each of which may fail, to a statement about the whole table."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.checks import level, whole
from certflow.stats.crossing import first_good
from certflow.stats.limits import LARGEST_N

GUARD = 1e-9
"""Relative margin taken off rho, far above the rounding error of the binomial tail."""


def failures_quantile(m: int, alpha: float, rho: float) -> int:
    """The smallest q with P(Bin(m, alpha) > q) <= rho: more certificates than that fail with probability at most rho.

    m independent certificates, each wrong with probability at most alpha; 1 <= m <= LARGEST_N, alpha in [0, 1), rho in (0, 1).
    0 for alpha = 0, where nothing was left to chance. Exact (bisection over whole numbers); rounding can only make q larger.
    ValueError outside these ranges.
    """
    m = int(whole("m", m, low=1, high=LARGEST_N))
    rho = float(level("rho", rho)) * (1 - GUARD)
    if alpha == 0:
        return 0
    alpha = float(level("alpha", alpha))
    return int(first_good(-1, m, lambda q: special.betainc(q + 1, m - q, alpha) <= rho))


def true_accuracy_lower_bound(certified: ArrayLike, images: int, alpha: float, rho: float) -> np.ndarray | np.float64:
    """Lower confidence bound on the share of these images whose smoothed prediction is right and truly robust at a radius.

    certified: how many of the `images` were certified there with the right class, whole, 0..images (any shape: one radius
    each). Each certificate is wrong with probability at most alpha, so wrong ones number at most q = `failures_quantile`
    with probability 1 - rho, and the bound is max(0, certified - q) / images. Each entry holds by itself at level rho.
    ValueError for numbers out of range, see `failures_quantile`.

    The images' noise must have been drawn independently. This speaks of these images, not of the population behind them.
    Cohen et al. 2019 (appendix) approximate the binomial quantile by Bernstein's inequality; the exact quantile is used here.
    """
    images = int(whole("images", images, low=1, high=LARGEST_N))
    certified = whole("certified", certified, low=0, high=images)
    return (np.maximum(certified - failures_quantile(images, alpha, rho), 0) / images)[()]
