"""The largest distance at which a certificate holds: of a whole layer, and of each point by itself.

E[Δ·min(1, δ/d)] does not fall as δ grows. Tests at growing δ, each at the full level, that stop at the first failure are
therefore a fixed sequence: the distance that is returned is too large with probability at most α, without a share of the
level for each value of the grid.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from certflow.errors import listed
from certflow.knowledge import bounds, kernel
from certflow.knowledge.asked import Asked, asked
from certflow.knowledge.evidence import Pairs, kernel_evidence
from certflow.knowledge.pairs import points
from certflow.knowledge.ratios import ratios

if TYPE_CHECKING:
    import pandas as pd


def largest_distance(
    z: ArrayLike,
    losses: ArrayLike,
    deltas: ArrayLike,
    eta: float,
    share: float,
    alpha: float,
    bound: str = "emp_bernstein",
    loss_max: float = 1.0,
    *,
    distance: str = "l2",
    resamples: int = 1000,
    seed: int = 0,
) -> float:
    """The largest δ of the grid up to which P(Δ ≥ η, d < δ) ≤ share is certified; 0 if none.

    Too large with probability at most alpha. Arguments as those of `certify`.
    """
    sample = points(z, losses, distance)
    wish = asked(sample, deltas, [eta], alpha, bound, loss_max)
    evidence = kernel_evidence(sample, Pairs.drawn(sample, None, seed), wish.deltas, wish.loss_max, resamples, seed)
    certified = [_passes(bounds.upper(bound, shown, alpha), eta, share, wish) for shown in evidence]
    return float(_last(np.array([certified]), wish.deltas)[0])


def certify_points(
    z: ArrayLike,
    losses: ArrayLike,
    deltas: ArrayLike,
    eta: float,
    share: float,
    alpha: float,
    bound: str = "emp_bernstein",
    loss_max: float = 1.0,
    *,
    distance: str = "l2",
) -> "pd.DataFrame":
    """For each point x, the largest δ of the grid up to which P(Δ ≥ η, d < δ) ≤ share for a random other point; 0 if none.

    Given x, the kernel's values at the other n − 1 points are independent. Each point's `delta_star` is too large with
    probability at most alpha, each for itself and not all of them together. bound: one that is sound. Columns: `loss`,
    `volatility` (mean of Δ/d, pairs at distance 0 left out), `delta_star`, and `kernel_upper` at the smallest δ.
    """
    import pandas as pd

    sample = points(z, losses, distance)
    wish = asked(sample, deltas, [eta], alpha, bound, loss_max)
    if bound not in WIDTHS:
        raise ValueError(f"bound: one point is certified by {listed(WIDTHS)}, got {bound!r}")
    others = len(sample) - 1
    if others < 2:
        raise ValueError(f"z: one point is certified by 2 others or more, got {others}")
    first, second = kernel.moments(sample, wish.deltas, powers=(1, 2)) / others
    variance = np.maximum(second - first * first, 0) * others / (others - 1)
    upper = np.minimum((first + WIDTHS[bound](variance, others, loss_max, alpha)) * bounds.OUTWARD, loss_max)
    table = {
        "loss": sample.losses,
        "volatility": ratios([sample])[0].per_point,
        "delta_star": _last(_passes(upper, eta, share, wish), wish.deltas),
        "kernel_upper": upper[:, 0],
    }
    return pd.DataFrame(table)


WIDTHS: Mapping[str, Callable[[np.ndarray, int, float, float], np.ndarray | float]] = {
    "emp_bernstein": bounds.bernstein_width,
    "hoeffding": lambda variance, m, high, alpha: bounds.hoeffding_width(m, high, alpha),
}
"""Bound → what it adds to the mean of m independent values with this sample variance."""


def _passes(upper: np.ndarray | float, eta: float, share: float, wish: Asked) -> np.ndarray:
    """Whether the certified share is small enough. No two losses are further apart than `loss_max`."""
    return np.asarray(upper <= share * eta) | (eta > wish.loss_max)


def _last(passes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """float64 [rows]: the δ before the first failure in each row of [rows, deltas]; 0 where the first one fails."""
    count = np.logical_and.accumulate(passes, axis=1).sum(1)
    return np.concatenate([[0.0], deltas])[count]
