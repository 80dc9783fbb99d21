"""The bound for all times: inverts the e-process, stays below the bound for one time, and refuses what has no meaning."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certflow.stats import anytime_failure, anytime_lower, clopper_pearson_lower
from certflow.stats.sequential import log_e_value

ALPHA = 0.01


@given(st.integers(1, 200_000), st.floats(0, 1), st.sampled_from([0.001, 0.01, 0.05, 0.3]))
@example(1000, 0.001, 0.01)
@example(1, 1.0, 0.001)
def test_what_is_claimed_was_rejected_and_little_more_was_not(n, share, alpha):
    k = round(share * n)
    q = float(anytime_failure(k, n, alpha))
    goal = np.log(1 / alpha)
    if k == 0:
        assert q == 1.0
        return
    assert q < 1.0 and log_e_value(k, n, 1 - q, q) >= goal + 5e-7, "and by more than the rounding of the evidence"
    less = q * (1 - 1e-4)
    assert less <= 1 - k / n or log_e_value(k, n, 1 - less, less) < goal + 1e-3 * n * q + 0.1


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_it_is_never_above_the_bound_for_a_fixed_number_of_draws(n, share):
    k = round(share * n)
    assert 0 <= anytime_lower(k, n, ALPHA) <= clopper_pearson_lower(k, n, ALPHA)


def test_more_hits_and_a_larger_alpha_raise_it():
    k = np.arange(0, 1001)
    bounds = anytime_lower(k, 1000, ALPHA)
    assert (np.diff(bounds) >= 0).all() and bounds[-1] > 0.98
    assert anytime_lower(900, 1000, 0.05) > anytime_lower(900, 1000, 0.001)


def test_the_lower_bound_is_the_largest_number_that_leaves_the_failure():
    """Rounded down where 1 - failure has no float64, and not where it has one."""
    k = np.arange(300, 1001, 7)
    failure, lower = anytime_failure(k, 1000, ALPHA), anytime_lower(k, 1000, ALPHA)
    for one, left in zip(lower, failure, strict=True):
        room = 1 - Fraction(float(left))
        assert Fraction(float(one)) <= room < Fraction(float(np.nextafter(one, 1.0)))


@pytest.mark.parametrize(
    ("k", "n", "share"), [(700, 1000, 0.87), (1000, 1000, 0.977), (9900, 10_000, 0.98), (99_000, 100_000, 0.99)]
)
def test_the_price_in_radius_is_what_is_documented(k, n, share):
    from scipy.special import ndtri

    ratio = ndtri(anytime_lower(k, n, 0.001)) / ndtri(clopper_pearson_lower(k, n, 0.001))
    assert share - 0.02 < ratio < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5, 4, 0.1), "k: must not exceed n"), ((1, 0, 0.1), "^n: "), ((1.5, 4, 0.1), "^k: "), ((1, 4, 1.0), "^alpha: ")],
)
def test_what_has_no_meaning_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        anytime_lower(*arguments)
