"""Clopper-Pearson bounds: closed forms, an independent slow computation, order, and refusals."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certflow.stats import (
    LARGEST_N,
    clopper_pearson_failure,
    clopper_pearson_lower,
    clopper_pearson_upper,
    plug_in_failure,
    smallest_n_to_certify,
)
from certflow.stats.limits import LEAST_ALPHA

alphas = st.floats(1e-9, 0.4)
mpmath.mp.dps = 40


@st.composite
def counts(draw, largest=10**6):
    n = draw(st.integers(1, largest))
    return draw(st.integers(0, n)), n


def tail(k: int, n: int, p: mpmath.mpf) -> mpmath.mpf:
    """P(Bin(n, p) >= k) for k above the mean, summed term by term in 40-digit arithmetic."""
    log_first = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
    log_first += k * mpmath.log(p) + (n - k) * mpmath.log(1 - p)
    odds, term, total = p / (1 - p), mpmath.mpf(1), mpmath.mpf(0)
    for j in range(k, n + 1):
        total += term
        if term < total * mpmath.mpf(10) ** -25:
            break
        term *= (n - j) * odds / (j + 1)
    return mpmath.exp(log_first) * total


@pytest.mark.parametrize("n", [7, 100, 5000, 10**5, 10**6])
def test_bounds_solve_the_tail_equation(n):
    generator = np.random.default_rng(n)
    for _ in range(12):
        alpha = float(10 ** generator.uniform(-6, -0.5))
        share = generator.choice([generator.random(), 1 - 10 ** generator.uniform(-6, -1)])
        k = int(np.clip(round(n * share), 1, n))
        if k <= n / 2:
            p = mpmath.mpf(float(clopper_pearson_lower(k, n, alpha)))
        else:
            p = 1 - mpmath.mpf(float(clopper_pearson_failure(k, n, alpha)))
        assert abs(tail(k, n, p) / mpmath.mpf(alpha) - 1) < (1e-9 if n <= 10**5 else 5e-9)


def test_large_n_stays_within_the_guard_of_the_radii():
    from certflow.certify.bounds import guarded

    for k, n in [
        (10**7 // 2 + 5000, 10**7),
        (10**7 - 30, 10**7),
        (LARGEST_N - 30, LARGEST_N),
        (LARGEST_N - 1, LARGEST_N),
    ]:
        level = float(guarded(0.001, n))
        p = 1 - mpmath.mpf(float(clopper_pearson_failure(k, n, level)))
        assert tail(k, n, p) <= 0.001


@given(counts(), alphas)
def test_ends_and_closed_forms(kn, alpha):
    _, n = kn
    assert clopper_pearson_lower(0, n, alpha) == 0 == 1 - clopper_pearson_upper(n, n, alpha)
    assert clopper_pearson_lower(n, n, alpha) == pytest.approx(alpha ** (1 / n), rel=1e-12)
    assert clopper_pearson_failure(n, n, alpha) == pytest.approx(
        float(1 - mpmath.mpf(alpha) ** (mpmath.mpf(1) / n)), rel=1e-14
    )
    one_hit = 1 - (1 - mpmath.mpf(alpha)) ** (mpmath.mpf(1) / n)
    assert clopper_pearson_lower(1, n, alpha) == pytest.approx(float(one_hit), rel=1e-12)


@given(counts(), alphas)
def test_bound_lies_below_the_frequency_and_sides_agree(kn, alpha):
    k, n = kn
    lower, upper, failure = (
        f(k, n, alpha) for f in (clopper_pearson_lower, clopper_pearson_upper, clopper_pearson_failure)
    )
    assert 0 <= lower <= k / n <= upper <= 1
    assert lower + failure == pytest.approx(1, abs=1e-13)
    assert upper == clopper_pearson_failure(n - k, n, alpha)


@given(counts(), alphas)
def test_strictly_increasing_in_k_and_alpha(kn, alpha):
    k, n = kn
    if k < n:
        assert clopper_pearson_lower(k, n, alpha) < clopper_pearson_lower(k + 1, n, alpha)
        assert clopper_pearson_failure(k, n, alpha) > clopper_pearson_failure(k + 1, n, alpha)
    if k > 0:
        assert clopper_pearson_lower(k, n, alpha) < clopper_pearson_lower(k, n, alpha * 1.1)


def test_tends_to_the_frequency():
    bounds = clopper_pearson_lower([8, 800, 80_000, 8_000_000], [10, 1000, 10**5, 10**7], 0.001)
    gaps = 0.8 - bounds
    assert (np.diff(gaps) < 0).all() and 0 < gaps[-1] < 5e-4


def test_broadcasting_and_scalars():
    table = clopper_pearson_lower(np.arange(4)[:, None], [10, 20, 30], 0.01)
    assert table.shape == (4, 3) and table.dtype == np.float64
    assert table[2, 1] == clopper_pearson_lower(2, 20, 0.01)
    assert isinstance(clopper_pearson_lower(2, 20, 0.01), float)
    assert clopper_pearson_lower([], 10, 0.01).shape == (0,)
    assert clopper_pearson_lower(3.0, 10, 0.01) == clopper_pearson_lower(np.uint8(3), 10, 0.01)


@given(st.integers(2, 10**5), st.floats(0, 1), st.floats(0, 1), alphas)
def test_plug_in_interpolates_whole_counts(n, share, other, alpha):
    low, high = sorted((share * n, other * n))
    assert plug_in_failure(high, n, alpha) <= plug_in_failure(low, n, alpha) * (1 + 1e-12)
    whole = round(high)
    assert plug_in_failure(whole, n, alpha) == clopper_pearson_failure(whole, n, alpha)


@pytest.mark.parametrize(
    "k, n, alpha, message",
    [
        (-1, 10, 0.01, "k: .* got -1"),
        (11, 10, 0.01, "k=11 of n=10"),
        (2.5, 10, 0.01, "k: .* got 2.5"),
        (float("nan"), 10, 0.01, "k: .* got nan"),
        ([1, np.nan], 10, 0.01, "k: .* got nan"),
        ("3", 10, 0.01, "k: .*'3'"),
        (True, 10, 0.01, "k: .*bool"),
        (np.array([], object), 10, 0.01, "k: must be whole numbers, got an empty list of type object"),
        (1, 10, np.array([], str), "alpha: must be a number between 1e-12 and 1, got an empty list"),
        (0, 0, 0.01, "n: .* got 0"),
        (1, 10.5, 0.01, "n: .* got 10.5"),
        (1, float("inf"), 0.01, "n: .* got inf"),
        (1, 2**53 + 2, 0.01, "n: .* got 9007199254740994"),
        (1, LARGEST_N + 1, 0.01, "n: .* got 100000001"),
        (1, 10, 0, "alpha: .* got 0"),
        (1, 10, 1, "alpha: .* got 1"),
        (1, 10, float("nan"), "alpha: .* got nan"),
        (1, 10, "0.01", "alpha: .*'0.01'"),
    ],
)
def test_refuses_what_no_bound_exists_for(k, n, alpha, message):
    for bound in (clopper_pearson_lower, clopper_pearson_upper, clopper_pearson_failure):
        with pytest.raises(ValueError, match=message):
            bound(k, n, alpha)


@settings(max_examples=50)
@given(st.floats(1e-12, 0.99))
def test_smallest_n_to_certify(alpha):
    n = smallest_n_to_certify(alpha)
    assert mpmath.mpf(alpha) ** (mpmath.mpf(1) / n) > 0.5
    assert n == 1 or mpmath.mpf(alpha) ** (mpmath.mpf(1) / (n - 1)) <= 0.5


def test_smallest_n_to_certify_at_an_exact_power():
    assert [smallest_n_to_certify(alpha) for alpha in (0.001, 2**-10, 0.5, 0.01)] == [10, 11, 2, 7]


def test_levels_at_which_the_inverse_is_not_verified_are_refused(monkeypatch):
    """At 2e-15 a bound errs more often than its level, although it is computed at a lower one; not at the least alpha."""
    from certflow.certify.bounds import guarded

    with pytest.raises(ValueError, match="alpha: must lie strictly between 1e-12 and 1, got 2e-15"):
        clopper_pearson_lower(65_391, 359_516, 2e-15)
    assert excess(65_391, 359_516, LEAST_ALPHA / 2, guarded) < 0
    monkeypatch.setattr("certflow.stats.clopper_pearson.LEAST_LEVEL", 0)
    assert excess(65_391, 359_516, 2.1127217703742678e-15, guarded) > 0


def excess(k: int, n: int, alpha: float, guarded) -> float:
    """By what share of alpha a bound's error probability is above it."""
    lower = mpmath.mpf(float(clopper_pearson_lower(k, n, guarded(alpha, n))))
    return float(tail(k, n, lower) / mpmath.mpf(alpha) - 1)
