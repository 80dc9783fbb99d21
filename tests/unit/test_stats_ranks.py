"""Spearman's correlation with its permutation test: an independent implementation, all orders, ties, and what is refused."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from certflow.stats import ranks, spearman


def slow(x, y):
    """Share of all orders of y that are as far from 0."""
    found = spearmanr(x, y).statistic
    return np.mean([abs(spearmanr(x, order).statistic) >= abs(found) - 1e-9 for order in permutations(y)])


@pytest.mark.parametrize("y", [[1.0, 2, 3, 4, 5], [3.0, 1, 2, 5, 4], [2.0, 1, 2, 5, 4], [1.0, 1, 1, 1, 2]])
def test_it_is_what_all_orders_say(y):
    x = [0.3, 0.1, 0.7, 2.0, 0.9]
    rho, p = spearman(x, y)
    assert rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12) and p == pytest.approx(slow(x, y), abs=1e-12)


def test_a_perfect_order_of_four_happens_by_chance_every_twelfth_time():
    assert spearman([1, 2, 3, 4], [9, 8, 7, 6]) == (pytest.approx(-1), pytest.approx(2 / 24))


def test_published_scores_and_successes_of_attacks():
    """Seven models of text: correlation 0.32, which chance exceeds every other time."""
    scores = [38.58, 55.01, 30.12, 28.62, 76.63, 74.50, 68.02]
    successes = [3528, 6855, 1958, 4867, 4467, 5975, 6331]
    rho, p = spearman(scores, successes)
    assert rho == pytest.approx(0.3214, abs=1e-4) and p == pytest.approx(0.498, abs=1e-3)


def test_drawn_orders_come_near_all_of_them_and_never_give_zero(monkeypatch):
    x, y = np.arange(6.0), np.array([1.0, 0, 2, 5, 3, 4])
    exact = spearman(x, y)[1]
    monkeypatch.setattr(ranks, "EXHAUSTIVE", 5)
    assert spearman(x, y)[1] == pytest.approx(exact, abs=4 * math.sqrt(exact / ranks.RESAMPLES))
    monkeypatch.setattr(ranks, "RESAMPLES", 1000)
    assert spearman(np.arange(12), np.arange(12))[1] == 1 / 1001
    first, same, other = (spearman(np.arange(12), np.arange(12) % 5, **seed) for seed in ({}, {"seed": 0}, {"seed": 1}))
    assert first == same and first[1] != other[1], "the orders are those of a seed, which is 0 unless given"


def test_all_orders_of_eight_are_counted_and_a_hundred_thousand_of_more_are_drawn():
    assert spearman(np.arange(8), np.arange(8))[1] == 2 / math.factorial(8)
    assert spearman(np.arange(12), np.arange(12))[1] == 1 / 100_001


def test_p_values_of_independent_numbers_are_seldom_small():
    rng = np.random.default_rng(0)
    small = sum(spearman(*rng.normal(size=(2, 5)))[1] <= 0.1 for _ in range(300))
    assert small <= 30 + 4 * math.sqrt(27)


def test_numbers_that_are_all_equal_have_no_order():
    for x, y in (([1, 2, 3, 4], [2, 2, 2, 2]), ([2, 2, 2, 2], [1, 2, 3, 4])):
        rho, p = spearman(x, y)
        assert math.isnan(rho) and p == 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "needs 4 or more"),
        ([1, 2, 3, 4], [1, 2, 3], "needs 4"),
        ([1, 2, 3, math.inf], range(4), "finite"),
    ],
)
def test_what_has_no_correlation_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        spearman(x, list(y))
