"""The bound on a whole table: exact quantiles, and its guarantee by enumeration."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certflow.stats import failures_quantile, true_accuracy_lower_bound


@pytest.mark.parametrize(
    "m, alpha, q",
    [(500, 0.001, 4), (1000, 0.001, 5), (10_000, 0.001, 21), (500, 0.01, 13), (1000, 0.01, 21), (10_000, 0.01, 132)],
)
def test_examples(m, alpha, q):
    assert failures_quantile(m, alpha, 0.001) == q
    bounds = true_accuracy_lower_bound([m, m // 2, q, q - 1, 0], m, alpha, 0.001)
    np.testing.assert_allclose(bounds, [1 - q / m, 0.5 - q / m, 0, 0, 0], atol=1e-15)


@given(st.integers(1, 80), st.integers(1, 99), st.integers(1, 999))
def test_quantile_is_exact(m, alpha_percent, rho_permille):
    alpha, rho = Fraction(alpha_percent, 100), Fraction(rho_permille, 1000)
    tails = [sum(comb(m, j) * alpha**j * (1 - alpha) ** (m - j) for j in range(q + 1, m + 1)) for q in range(m + 1)]
    exact = next(q for q, tail in enumerate(tails) if tail <= rho)
    nearly_tied = any(abs(tail - rho) < Fraction(1, 10**8) * rho for tail in tails)
    assert nearly_tied or failures_quantile(m, float(alpha), float(rho)) == exact


def test_large_tables_agree_with_the_binomial_law():
    for m in (50_000, 10**6):
        assert failures_quantile(m, 0.001, 1e-4) == stats.binom.ppf(1 - 1e-4, m, 0.001)


def test_holds_where_the_bernstein_shortcut_of_the_plotting_code_fails():
    m, alpha, rho = 10_000, 0.001, 0.001
    shortcut = alpha + np.sqrt(alpha * (1 - alpha) * np.log(1 / rho) / m) + np.log(1 / rho) / (3 * m)
    assert shortcut == pytest.approx(0.002061, abs=1e-6)
    assert stats.binom.sf(np.floor(shortcut * m), m, alpha) > rho
    assert stats.binom.sf(failures_quantile(m, alpha, rho), m, alpha) <= rho


@pytest.mark.parametrize(
    "certified, images, alpha, rho",
    [
        (501, 500, 0.001, 0.001),
        (-1, 500, 0.001, 0.001),
        (3, 0, 0.001, 0.001),
        (3, 500, -0.001, 0.001),
        (3, 500, 0.001, 1),
    ],
)
def test_refusals(certified, images, alpha, rho):
    with pytest.raises(ValueError, match="must"):
        true_accuracy_lower_bound(certified, images, alpha, rho)


def test_nothing_fails_where_nothing_is_left_to_chance():
    assert failures_quantile(500, 0, 0.001) == 0
    assert true_accuracy_lower_bound([0, 3, 500], 500, 0.0, 0.001).tolist() == [0, 3 / 500, 1]
