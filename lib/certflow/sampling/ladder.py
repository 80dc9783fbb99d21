"""A ladder of preset radii, climbed while the draws come in: a rung holds once its own test rejects, from the lowest up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from certflow.stats.crossing import first_good
from certflow.stats.sequential import acceptance_counts, look_schedule
from certflow.stats.truncated import size

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
        reached = (k >= self.accept[:, look, None]) | (np.arange(len(self.radii))[:, None] < before)
        rungs = np.logical_and.accumulate(reached, axis=0).sum(axis=0)
        radii = np.concatenate([[-1.0], self.radii])
        return radii[rungs], k <= self.give_up[rungs, look]

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        """See `StoppingRule.most`. An earlier look can have seen all hits there are now, as far as its draws go."""
        looks, accept = self.looks[: look + 1], self.accept[:, : look + 1]
        least = np.where(accept <= looks, accept, looks[-1] + 1).min(axis=1)
        least = np.maximum.accumulate(least)  # a rung holds only with all below it
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
    last = int(looks[-1])
    return first_good(-1, looks + 1, lambda k: chance(np.minimum(k, looks), looks, last, needed) >= beta) - 1


def stated_ladder(
    radii: Sequence[float], failure: np.ndarray, tests: Mapping[str, Any] | None, *, n_max: int, alpha: float
) -> Ladder:
    """The ladder of the boundaries that a plan states (`certflow.sampling.tuning.tuned_ladder`).

    failure: float64 [rungs], from which the exact size of each test is computed again: ValueError for boundaries that do not
    suit these radii and draws, or whose size exceeds alpha. It does not matter who made them, or where.
    """
    if tests is None:
        raise ValueError("the plan states no tests; make it with the sampler's `facts`")
    ladder = Ladder(
        np.array(radii, np.float64), *(np.array(tests[name], np.int64) for name in ("looks", "accept", "give_up"))
    )
    rungs, looks = len(ladder.radii), len(ladder.looks)
    fits = ladder.accept.shape == (rungs, looks) and ladder.give_up.shape == (rungs + 1, looks)
    if not fits or ladder.looks[-1] != n_max or ladder.looks[0] < 1 or (np.diff(ladder.looks) < 1).any():
        raise ValueError(
            f"the plan's tests do not fit {rungs} radii and at most {n_max} draws; delete it and run again"
        )
    for radius, q0, accept in zip(ladder.radii, failure, ladder.accept, strict=True):
        found = _checked_size(tuple(tests["looks"]), tuple(accept.tolist()), float(q0))
        if found > alpha:
            raise ValueError(f"the plan's test of radius {radius:g} errs with probability {found:g}, above {alpha:g}")
    return ladder


@lru_cache(maxsize=256)
def _checked_size(looks: tuple[int, ...], accept: tuple[int, ...], q0: float) -> float:
    if q0 <= 0:  # nothing may be claimed
        return 0.0 if all(a > n for a, n in zip(accept, looks, strict=True)) else 1.0
    return size(np.array(looks), np.array(accept), q0)
