"""The distributional certificate: how often do two data points that a layer holds close differ in loss?

For a random pair (X, X'), d the distance between its representations, Δ the difference of its losses, and all η, δ > 0

    P(Δ ≥ η, d < δ) ≤ E[Δ·min(1, δ/d)] / η ≤ δ·E[Δ/d] / η                  (joint)
    P(Δ ≥ η | d < δ) ≤ E[Δ·min(1, δ/d)] / (η·P(d < δ))                     (conditional)

by Markov's inequality, with no assumption on the distance or the network. This replaces theorem 4.1 of the method's paper,
which bounds an existence event by a mean over pairs (see `certflow.knowledge.unsound`). It says nothing of the worst case
near a point.
"""

import math
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from certflow.knowledge import bounds
from certflow.knowledge.asked import Asked, asked, require_range
from certflow.knowledge.evidence import Pairs, kernel_evidence, volatility_evidence
from certflow.knowledge.pairs import points
from certflow.knowledge.ratios import require_steadying
from certflow.stats import clopper_pearson_upper
from certflow.stats.checks import level

if TYPE_CHECKING:
    import pandas as pd

CLAIM = "distributional"
"""What every row claims: of random pairs of data points, not of the neighbourhood of one."""


def certify(
    z: ArrayLike,
    losses: ArrayLike,
    deltas: ArrayLike,
    etas: ArrayLike,
    alpha: float,
    bound: str = "emp_bernstein",
    loss_max: float = 1.0,
    *,
    distance: str = "l2",
    anchors: ArrayLike | None = None,
    floor: float = 0.0,
    stabiliser: float = 0.0,
    whole_curve: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> "pd.DataFrame":
    """Upper bounds for the joint and the conditional probability: a row for each δ and η.

    z: [n, dim]; losses: [n], at most `loss_max` apart whatever the point (0-1 loss and probabilities: 1). deltas, in units
    of the distance, and etas: above 0. The points must be independent, and neither the network nor the deltas chosen by
    means of them. bound: a name of `BOUNDS`; column `sound` says whether it holds for every sample size. anchors: bool [n],
    X then is a random one of these. whole_curve: a column holds for all deltas at once with probability 1 − alpha, the
    level being divided by their number; else each of its rows by itself.

    Columns: `kernel_mean`, `kernel_upper` of E[Δ·min(1, δ/d)]; `near_share`, `near_lower` of P(d < δ), the latter for all δ
    at once (Massart 1990); `joint_bound` and `conditional_bound`; `linear_bound`, from the mean of Δ/(max(d, floor) +
    stabiliser), where one of the two is set; `direct_share` and `direct_upper`, the event counted on disjoint pairs, which
    is tighter at one δ and η. None of them is an accuracy. ValueError for input that cannot be certified.
    """
    import pandas as pd

    sample = points(z, losses, distance)
    wish = asked(sample, deltas, etas, alpha, bound, loss_max)
    require_steadying(stabiliser, floor)
    pairs = Pairs.drawn(sample, anchors, seed)
    share = alpha / len(wish.deltas) if whole_curve else alpha
    linear = None
    if floor + stabiliser > 0 and pairs.all_anchors:
        options = {"distance": distance, "floor": floor, "stabiliser": stabiliser, "resamples": resamples, "seed": seed}
        linear = volatility_upper(z, losses, alpha, bound, loss_max, **options)
    rows = []
    evidence = kernel_evidence(sample, pairs, wish.deltas, wish.loss_max, resamples, seed)
    for delta, shown in zip(wish.deltas, evidence, strict=True):
        for eta in wish.etas:
            row = {"delta": delta, "eta": eta, "points": len(sample), "pairs": len(pairs)}
            row |= _bounds(shown, pairs, delta, eta, wish, share) | _direct(pairs, delta, eta, wish, share)
            if linear is not None:
                row["linear_bound"] = _over(linear * (max(delta, floor) + stabiliser), eta, wish)
            rows.append(row | {"bound": bound, "alpha": alpha, "sound": bounds.BOUNDS[bound].sound, "claim": CLAIM})
    return pd.DataFrame(rows)


def volatility_upper(
    z: ArrayLike,
    losses: ArrayLike,
    alpha: float,
    bound: str = "emp_bernstein",
    loss_max: float = 1.0,
    *,
    distance: str = "l2",
    floor: float = 0.0,
    stabiliser: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> float:
    """A number that E[Δ/(max(d, floor) + stabiliser)] exceeds with probability at most alpha.

    Arguments as those of `certify`. ValueError for a sound bound without floor or stabiliser: 1/d has no largest value.
    """
    sample = points(z, losses, distance)
    level("alpha", alpha)
    require_range(sample, bound, loss_max)
    if bounds.BOUNDS[bound].sound and floor + stabiliser == 0:
        raise ValueError(
            f"bound {bound} needs a floor or a stabiliser above 0: without them 1/distance has no largest value"
        )
    evidence = volatility_evidence(sample, loss_max, floor=floor, stabiliser=stabiliser, resamples=resamples, seed=seed)
    return bounds.upper(bound, evidence, alpha)


def _bounds(
    evidence: bounds.Evidence, pairs: Pairs, delta: float, eta: float, wish: Asked, share: float
) -> dict[str, float]:
    """The joint bound at level `share`; the conditional one with half of it for the kernel, and half of alpha for P(d < δ)."""
    near = pairs.near(delta)
    near_lower = max(0.0, near - bounds.hoeffding_width(len(pairs), 1.0, wish.alpha / 2))
    upper, half = (bounds.upper(wish.bound, evidence, part) for part in (share, share / 2))
    return {
        "kernel_mean": evidence.mean,
        "kernel_upper": upper,
        "near_share": near,
        "near_lower": near_lower,
        "joint_bound": _over(upper, eta, wish),
        "conditional_bound": _over(half, eta, wish, near_lower),
    }


def _over(mean: float, eta: float, wish: Asked, share: float = 1.0) -> float:
    """mean / (eta·share), at most 1; 0 where no two losses are as far apart as eta."""
    if eta > wish.loss_max:
        return 0.0
    return min(1.0, mean / (eta * share)) if share > 0 else 1.0


def _direct(pairs: Pairs, delta: float, eta: float, wish: Asked, share: float) -> dict[str, float]:
    """The event counted on disjoint pairs, and its upper bound, the level shared out among the etas too."""
    k, m = int(((pairs.difference >= eta) & (pairs.distance < delta)).sum()), len(pairs)
    if m == 0:
        return {"direct_share": math.nan, "direct_upper": 1.0}
    return {"direct_share": k / m, "direct_upper": float(clopper_pearson_upper(k, m, share / len(wish.etas)))}
