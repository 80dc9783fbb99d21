"""The arguments of a certificate, checked before any pair is looked at."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from certflow.errors import listed
from certflow.knowledge.bounds import BOUNDS
from certflow.knowledge.losses import BOUNDED
from certflow.knowledge.pairs import Points
from certflow.stats.checks import level

ROUNDING = 1e-9
"""Relative amount by which losses may exceed their range: that of float64 sums, far from a choice of another loss."""


@dataclass(frozen=True)
class Asked:
    """Distances δ (increasing), differences of losses η, the level and the way of bounding."""

    deltas: np.ndarray
    etas: np.ndarray
    alpha: float
    bound: str
    loss_max: float


def asked(sample: Points, deltas: ArrayLike, etas: ArrayLike, alpha: float, bound: str, loss_max: float) -> Asked:
    """The request, or a ValueError that says what is wrong with it."""
    level("alpha", alpha)
    require_range(sample, bound, loss_max)
    return Asked(positive("deltas", deltas), positive("etas", etas), float(alpha), bound, float(loss_max))


def require_range(sample: Points, bound: str, loss_max: float) -> None:
    """The bound must be known; sound ones need losses that are at most `loss_max` apart."""
    if bound not in BOUNDS:
        raise ValueError(f"bound: no bound {bound!r}; known: {listed(BOUNDS)}")
    if not loss_max > 0:
        raise ValueError(f"loss_max: must be above 0, got {loss_max}")
    if not BOUNDS[bound].sound:
        return
    if math.isinf(loss_max):
        raise ValueError(f"loss_max: bound {bound} needs a bounded loss, such as {', '.join(BOUNDED)}")
    found = float(np.ptp(sample.losses))
    if found > loss_max * (1 + ROUNDING):
        raise ValueError(
            f"losses: two are {found:g} apart, more than loss_max={loss_max:g}; give the range of the loss, or take a "
            f"bounded one, such as {', '.join(BOUNDED)}"
        )


def positive(name: str, values: ArrayLike) -> np.ndarray:
    """float64 [values], increasing; ValueError unless all are above 0 and finite."""
    found = np.unique(np.asarray(values, np.float64))
    if found.size == 0 or not (np.isfinite(found).all() and found[0] > 0):
        raise ValueError(f"{name}: must be above 0 and finite, got {np.asarray(values).tolist()}")
    return found
