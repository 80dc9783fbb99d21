"""A ladder of preset radii, climbed while the draws come in: a rung holds once its own test rejects, from the lowest up."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from certflow.stats.sequential import acceptance_counts, look_schedule

LARGEST_DIM = 1 << 24
"""Coordinates of the largest image that exact decisions allow for. The distance of exact noise from its ideal law grows with
them; rungs give away that of 16 million, below 1e-8, whatever the images' size."""


@dataclass(frozen=True)
class Ladder:
    """The stopping rule of `decide` (see `certflow.sampling.base.StoppingRule`), as thresholds on the class's count."""

    radii: np.ndarray
    """float64 [rungs], increasing."""
    looks: np.ndarray
    """int64 [looks], increasing."""
    accept: np.ndarray
    """int64 [rungs, looks]: from this count on, the rung holds."""
    give_up: np.ndarray
    """int64 [rungs + 1, looks]: up to this count, the rung is out of reach. The row after the last rung always gives up."""

    def judge(self, look: int, k: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `StoppingRule.judge`: the largest radius held so far (-1: none), and whether the next one is out of reach."""
        before = np.searchsorted(self.radii, decided, side="right")  # rungs held
        holds = np.logical_and.accumulate(k >= self.accept[:, look, None], axis=0).sum(axis=0)
        rungs = np.maximum(before, holds)
        radii = np.concatenate([[-1.0], self.radii])
        return radii[rungs], k <= self.give_up[rungs, look]

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        """See `StoppingRule.most`. An earlier look can have seen all hits there are now, as far as its draws go."""
        looks = self.looks[: look + 1]
        together = np.maximum.accumulate(self.accept[:, : look + 1], axis=0)  # a rung holds with all below it
        least = np.where(together <= looks, together, looks[-1] + 1).min(axis=1)
        return np.concatenate([[-1.0], self.radii])[np.searchsorted(least, k, side="right")]


@lru_cache(maxsize=32)
def planned_ladder(
    radii: tuple[float, ...],
    failure: tuple[float, ...],
    look: int,
    n_max: int,
    alpha: float,
    beta: float,
    slack: float,
) -> Ladder:
    """`ladder` at the looks of `look_schedule(look, n_max)`, remembered: whoever reads a plan asks for it."""
    looks = look_schedule(look, n_max)
    return ladder(np.array(radii), np.array(failure), looks, alpha=alpha, beta=beta, slack=slack)


def ladder(
    radii: np.ndarray, failure: np.ndarray, looks: np.ndarray, *, alpha: float, beta: float, slack: float = 0.0
) -> Ladder:
    """Thresholds for radii float64 [rungs]: each holds where the class is missed with probability below its `failure`.

    failure: float64 [rungs], such as Phi(-r / sigma) under Gaussian noise (Cohen et al. 2019, Theorem 1), see
    `certflow.noise.radii`. One stream tests all rungs in a fixed order, each at level alpha: a false claim needs the smallest
    false rung to be rejected, so the level is not shared out. A rung is given up where `chance` falls below `beta`, which costs
    power alone. `slack`, what the law of the draws may differ from the stated one, is taken off every failure.
    """
    q0 = np.maximum(failure - slack, 0.0)
    accept = [acceptance_counts(looks, 1.0 - q, q, alpha) if q > 0 else looks + 1 for q in q0]
    give_up = [give_up_counts(looks, int(counts[-1]), beta) for counts in accept]
    return Ladder(radii, looks, np.array(accept), np.array([*give_up, looks]))


def chance(k: np.ndarray, n: np.ndarray, last: int, needed: int) -> np.ndarray:
    """How likely an image with k hits in n draws will have `needed` hits after `last`, judged by these draws alone.

    The law of the hits to come is beta-binomial under the Jeffreys prior, here its normal approximation; exactly 0 where even
    hits alone would not suffice. Most of the draws of a sequential test are spent on images near a rung, on which it will not
    be decided in time: stopping where that is all but sure leaves more than half of the draws out (stochastic curtailment).
    """
    rest, a, b = last - n, k + 0.5, n - k + 0.5
    p = a / (a + b)
    spread = np.sqrt(rest * p * (1 - p) * (n + 1 + rest) / (n + 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        likely = special.ndtr((k + rest * p - needed + 0.5) / spread)
    return np.where(k + rest < needed, 0.0, np.where(rest == 0, 1.0, likely))


def give_up_counts(looks: np.ndarray, needed: int, beta: float) -> np.ndarray:
    """int64 [looks]: the largest count with a `chance` below beta, -1 where none has. The last look decides by itself."""
    low, high = np.full(len(looks), -1), looks + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        hopeless = chance(np.clip(middle, 0, looks), looks, int(looks[-1]), needed) < beta
        moving = high - low > 1
        low, high = np.where(moving & hopeless, middle, low), np.where(moving & ~hopeless, middle, high)
    return low
