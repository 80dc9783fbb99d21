"""The sequential test and its ladder err no more often than stated: exact one-sided binomial tests at 1e-6 each."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from benchmarks.climbing import climbed
from certflow.sampling.ladder import ladder
from certflow.stats.sequential import look_schedule

pytestmark = pytest.mark.statistical
LEVEL = 1e-6
"""False-alarm probability of one test; fewer than a hundred such tests make the suite's 1e-4."""
PATHS = 10_000


def climbs(p: float, radii: list[float], alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(largest radius held, draws made) of PATHS images whose class has probability p, sigma = 1."""
    looks = look_schedule(50, 5000, growth=1.0)
    rule = ladder(np.array(radii), ndtr(-np.array(radii)), looks, alpha=alpha, beta=0.001)
    found = climbed(rule, np.full(PATHS, p), rng)
    return found.decided, found.drawn


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.85, 1.5, 2.3])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_radius_that_is_just_missed_is_claimed_no_more_often_than_alpha(radius, alpha):
    decided, _ = climbs(ndtr(radius), [radius], alpha, np.random.default_rng([7, int(100 * radius), int(1e4 * alpha)]))
    wrong = int((decided >= radius).sum())
    assert stats.binom.sf(wrong - 1, PATHS, alpha) > LEVEL
    assert wrong > 0.02 * alpha * PATHS, "a test that never errs proves nothing"


@pytest.mark.parametrize("true", [0.25, 0.6, 1.3])
def test_a_whole_ladder_claims_too_much_no_more_often_than_alpha(true):
    radii = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    decided, drawn = climbs(ndtr(true), radii, 0.05, np.random.default_rng(int(1000 * true)))
    wrong = int((decided >= true).sum())  # a radius r needs p_A > Phi(r): at r = true it is false
    assert stats.binom.sf(wrong - 1, PATHS, 0.05) > LEVEL
    assert drawn.mean() < 5000


def test_images_that_are_clear_are_decided_after_few_draws():
    decided, drawn = climbs(ndtr(1.0), [0.5], 0.001, np.random.default_rng(0))
    assert (decided == 0.5).mean() > 0.999 and drawn.mean() < 300
    decided, drawn = climbs(ndtr(0.0), [0.5], 0.001, np.random.default_rng(1))
    assert (decided == -1).mean() > 0.999 and drawn.mean() < 300
