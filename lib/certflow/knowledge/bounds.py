"""Upper confidence bounds for a mean over random pairs, from one sample of points. Adding one means adding a line to `BOUNDS`.

What is averaged lies in [0, high]. Two of the bounds hold for every law and every sample size; two hold as samples grow,
fall short of their level where the law is skewed (0.937 and 0.940 for 0.95 were measured with 200 points), and are labelled
so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from certflow.stats.bootstrap import resample_counts
from certflow.stats.limits import LARGEST_MATRIX

OUTWARD = 1 + 1e-12
"""What bounds are multiplied by, so that rounding never makes them smaller."""


@dataclass(frozen=True)
class Evidence:
    """A quantity of pairs in [0, high], as a sample shows it."""

    paired: np.ndarray
    """float64 [m]: on disjoint pairs, which are independent."""
    per_point: np.ndarray
    """float64 [points]: mean over all other points; empty where pairs are not exchangeable (some points are anchors)."""
    high: float
    matrix: Callable[[], tuple[np.ndarray, np.ndarray]]
    """() → float64 [n, n] of all pairs, symmetric with a zero diagonal, and the weights 0 or 1 of the pairs that count."""
    resamples: int = 1000
    seed: int = 0

    @cached_property
    def mean(self) -> float:
        """Over all pairs of points, or the disjoint ones where only these are alike; not a number where there are none."""
        shown = self.per_point if len(self.per_point) else self.paired
        return float(shown.mean()) if len(shown) else math.nan


@dataclass(frozen=True)
class Bound:
    """`upper`: evidence, α → a number that the true mean exceeds with probability at most α."""

    upper: Callable[[Evidence, float], float]
    sound: bool
    """Whether that holds for every law and sample size; else it is asymptotic."""


def hoeffding(evidence: Evidence, alpha: float) -> float:
    """Mean over all pairs + high·√(ln(1/α) / 2m), with m disjoint pairs (Hoeffding 1963, section 5: U-statistics)."""
    if len(evidence.paired) == 0:
        return evidence.high
    return evidence.mean + hoeffding_width(len(evidence.paired), evidence.high, alpha)


def empirical_bernstein(evidence: Evidence, alpha: float) -> float:
    """Maurer and Pontil 2009, theorem 4, over the disjoint pairs: the better one where the mean is small."""
    paired = evidence.paired
    if len(paired) < 2:
        return evidence.high
    return float(paired.mean() + bernstein_width(paired.var(ddof=1), len(paired), evidence.high, alpha))


def clt(evidence: Evidence, alpha: float) -> float:
    """Mean + z·2·sd(means of points)/√n: the U-statistic's central limit."""
    means = _of_points(evidence)
    return float(means.mean() - ndtri(alpha) * 2 * means.std(ddof=1) / math.sqrt(len(means)))


def bootstrap(evidence: Evidence, alpha: float) -> float:
    """Mean + z·sd of resampled means: the method's published form. Their sd already is the standard error."""
    require_few(len(_of_points(evidence)))
    means = resampled_means(*evidence.matrix(), evidence.resamples, evidence.seed)
    return float(means.mean() - ndtri(alpha) * means.std(ddof=1))


def hoeffding_width(m: int, high: float, alpha: float) -> float:
    """What m independent values in [0, high] add to their mean; infinite for none."""
    return math.inf if m == 0 else high * math.sqrt(math.log(1 / alpha) / (2 * m))


def bernstein_width(variance: np.ndarray | float, m: int, high: float, alpha: float) -> np.ndarray | float:
    """√(2 V ln(2/α) / m) + 7 high ln(2/α) / (3 (m − 1)), for m ≥ 2 independent values of sample variance V."""
    log = math.log(2 / alpha)
    return np.sqrt(2 * variance * log / m) + 7 * high * log / (3 * (m - 1))


def resampled_means(matrix: np.ndarray, weights: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """float64 [resamples]: means over the pairs of n points drawn with replacement; a point and its copy are not a pair.

    With c_i the times that point i was drawn it is cᵀKc / cᵀWc: products of matrices instead of resampled ones.
    """
    if resamples < 2:
        raise ValueError(f"resamples: the spread of resampled means needs 2 or more, got {resamples}")
    require_few(len(matrix))
    counts = resample_counts(len(matrix), resamples, np.random.default_rng(seed))
    pairs = np.einsum("bi,bi->b", counts @ weights, counts)
    if not pairs.all():
        raise ValueError("a resample has no pair that counts; give more points")
    return np.einsum("bi,bi->b", counts @ matrix, counts) / pairs


def require_few(points: int) -> None:
    """ValueError for more points than all pairs are held of."""
    if points > LARGEST_MATRIX:
        raise ValueError(f"the bootstrap holds all pairs of at most {LARGEST_MATRIX} points, got {points}; give fewer")


def _of_points(evidence: Evidence) -> np.ndarray:
    if len(evidence.per_point) < 3:
        raise ValueError("asymptotic bounds need 3 points or more, all of them as anchors; use emp_bernstein")
    return evidence.per_point


BOUNDS: Mapping[str, Bound] = {
    "emp_bernstein": Bound(empirical_bernstein, sound=True),
    "hoeffding": Bound(hoeffding, sound=True),
    "clt": Bound(clt, sound=False),
    "bootstrap": Bound(bootstrap, sound=False),
}


def upper(name: str, evidence: Evidence, alpha: float) -> float:
    """The bound of this name, rounded up, and never more than what the quantity can be."""
    return min(evidence.high, BOUNDS[name].upper(evidence, alpha) * OUTWARD)
