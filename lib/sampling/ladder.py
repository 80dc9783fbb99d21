"""A ladder of preset radii, climbed while the draws come in: a rung holds once its own test rejects, from the lowest up."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from lib.stats.sequential import acceptance_counts

LARGEST_DIM = 1 << 24
"""Coordinates of the largest image that exact decisions allow for. The distance of exact noise from its ideal law grows with
them; rungs give away that of 16 million, below 1e-8, whatever the images' size."""


@dataclass(frozen=True)
class Ladder:
    """The stopping rule of `decide` (see `lib.sampling.base.StoppingRule`), as whole-number thresholds on the class's count."""

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


def ladder(
    radii: np.ndarray, looks: np.ndarray, sigma: float, *, alpha: float, beta: float, slack: float = 0.0
) -> Ladder:
    """Thresholds for Gaussian smoothing: radius r holds where p_A > Phi(r / sigma) (Cohen et al. 2019, Theorem 1).

    One stream tests all rungs in a fixed order, each at level alpha: a false claim needs the smallest false rung to be
    rejected, so the level is not shared out. A rung is given up where the mirrored test rejects "p_A is at least p0" at level
    `beta`, which costs power alone, and where no count to come could accept it. `slack` is added to every p0: what the law
    of the draws may differ from the Gaussian.
    """
    p0 = np.minimum(special.ndtr(radii / sigma) + slack, 1.0)
    q0 = np.maximum(special.ndtr(-radii / sigma) - slack, 0.0)
    last = looks[-1]
    accept, give_up = [], []
    for p, q in zip(p0, q0, strict=True):
        accept.append(acceptance_counts(looks, p, q, alpha) if q > 0 else looks + 1)
        misses = acceptance_counts(looks, q, p, beta) if q > 0 else looks + 1
        allowed = last - accept[-1][-1]  # misses that the last look still allows; earlier looks allow fewer
        give_up.append(looks - np.minimum(misses, allowed + 1))
    return Ladder(radii, looks, np.array(accept), np.array([*give_up, looks]))
