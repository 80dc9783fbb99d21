"""The anytime bound is wrong at any of many looks with probability at most alpha; the bound for one look is not."""

import numpy as np
import pytest
from scipy import stats

from certflow.stats import anytime_lower, clopper_pearson_lower

ALPHA, STREAMS, FALSE_ALARM = 0.05, 4000, 1e-6
LOOKS = np.unique(np.geomspace(20, 5000, 40).astype(int))


def ever_wrong(bound, p: float) -> int:
    """In how many of the streams the bound exceeds p at one of the looks."""
    random = np.random.default_rng(int(1000 * p))
    hits = np.cumsum(random.binomial(np.diff(LOOKS, prepend=0), p, size=(STREAMS, len(LOOKS))), axis=1)
    wrong = np.zeros(STREAMS, bool)
    for n, k in zip(LOOKS, hits.T, strict=True):
        values, row = np.unique(k, return_inverse=True)  # a bound is a function of (k, n): once for each
        wrong |= (bound(values, n, ALPHA) > p)[row]
    return int(wrong.sum())


@pytest.mark.statistical
@pytest.mark.parametrize("p", [0.5, 0.8, 0.99])
def test_at_most_alpha_of_all_streams_is_ever_wrong(p):
    assert stats.binom.sf(ever_wrong(anytime_lower, p) - 1, STREAMS, ALPHA) > FALSE_ALARM


@pytest.mark.statistical
@pytest.mark.parametrize("p", [0.5, 0.8])
def test_a_bound_for_one_look_read_at_every_look_is_wrong_far_more_often(p):
    """The test above can fail: with the usual bound it does."""
    assert stats.binom.sf(ever_wrong(clopper_pearson_lower, p) - 1, STREAMS, ALPHA) < FALSE_ALARM
