"""Randomised bounds: closed forms, the defining equation in 40 digits, order, and refusals."""

import mpmath
import numpy as np
import pytest

from certflow.stats import (
    clopper_pearson_failure,
    clopper_pearson_lower,
    clopper_pearson_upper,
    effective_u,
    randomized,
    randomized_failure,
    randomized_upper,
    smallest_count_to_certify,
)

ALPHA = 0.001


def binomial_tail(k: int, n: int, failure: float) -> mpmath.mpf:
    """P(Bin(n, 1 - failure) >= k), summed over the failures n - k, n - k - 1, ... in 40-digit arithmetic."""
    with mpmath.workdps(40):
        q, misses = mpmath.mpf(failure), n - k
        term = mpmath.exp(mpmath.loggamma(n + 1) - mpmath.loggamma(misses + 1) - mpmath.loggamma(k + 1))
        term *= q**misses * (1 - q) ** k
        total = mpmath.mpf(0)
        while misses >= 0 and term > total * mpmath.mpf(10) ** -25:
            total += term
            term *= misses * (1 - q) / ((n - misses + 1) * q)
            misses -= 1
        return total


@pytest.mark.parametrize("n", [2, 30, 1000, 10**5, 10**6])
def test_bounds_solve_their_equation_from_the_safe_side(n):
    generator = np.random.default_rng(n)
    for _ in range(8):
        alpha = float(10 ** generator.uniform(-6, -1))
        share = generator.choice([generator.uniform(0.4, 1), 1 - 10 ** generator.uniform(-6, -1)])
        k = int(np.clip(round(n * share), 1, n - 1))
        u = float(effective_u(1 - generator.random(), alpha))
        failure = float(randomized_failure(k, n, alpha, u))
        tail = (1 - u) * binomial_tail(k + 1, n, failure) + u * binomial_tail(k, n, failure)
        assert -1e-9 < tail / mpmath.mpf(alpha) - 1 < 1e-10


def test_the_search_takes_eight_steps_and_ends_where_nothing_is_left_to_find(monkeypatch):
    """Two of them for the ends of the bracket. A step that errs would still come to the root, later."""
    asked, tail = [], randomized._log_tail
    monkeypatch.setattr(randomized, "_log_tail", lambda k, *rest: asked.append(len(k)) or tail(k, *rest))
    generator = np.random.default_rng(3)
    n = generator.integers(2, 10**5, 400)
    k, u = (n * generator.random(400)).astype(np.int64), generator.uniform(0.02, 0.99, 400)
    randomized_failure(k, n, ALPHA, u)
    assert len(asked) <= 16 and 7.5 < sum(asked) / 400 < 8.5


def test_ends_are_the_plain_bounds():
    n = np.array([1, 10, 1000, 10**5])
    for k in (n // 2, n - 1, n):
        np.testing.assert_array_equal(randomized_failure(k, n, ALPHA, 1.0), clopper_pearson_failure(k, n, ALPHA))
    k = np.array([1, 500, 900, 998])
    next_one = clopper_pearson_failure(k + 1, 1000, ALPHA)
    np.testing.assert_allclose(randomized_failure(k, 1000, ALPHA, ALPHA * (1 + 1e-9)), next_one, rtol=0.05)
    np.testing.assert_allclose(1 - randomized_failure(10, 10, ALPHA, 0.25), (ALPHA / 0.25) ** 0.1, rtol=1e-14)
    assert (randomized_failure(0, [1, 7, 100], ALPHA, 0.02) == 1).all()


def test_bounds_lie_between_neighbours_and_fall_with_u():
    generator = np.random.default_rng(3)
    n = generator.integers(2, 5000, 400)
    k = (n * generator.random(400)).astype(np.int64)
    u = np.sort(effective_u(1 - generator.random((5, 400)), ALPHA), axis=0)
    found = randomized_failure(k, n, ALPHA, u)
    assert (found <= clopper_pearson_failure(k, n, ALPHA)).all()
    assert (found >= clopper_pearson_failure(np.minimum(k + 1, n), n, ALPHA))[:, k + 1 <= n].all()
    assert (np.diff(found, axis=0) >= -1e-15).all()


def test_upper_bounds_mirror_lower_ones_and_grow_with_the_count_for_any_two_coins():
    k, n = np.arange(100), 100
    high, low = randomized_upper(k, n, ALPHA, 0.02), randomized_upper(k, n, ALPHA, 1.0)
    np.testing.assert_array_equal(low, clopper_pearson_upper(k, n, ALPHA))
    assert (high <= low).all() and (low[:-1] <= high[1:] * (1 + 1e-14)).all()
    np.testing.assert_array_equal(high, randomized_failure(n - k, n, ALPHA, 0.02))


def test_small_variates_are_raised():
    np.testing.assert_array_equal(effective_u([1e-9, 0.02, 0.5, 1.0], 0.001), [0.02, 0.02, 0.5, 1.0])
    assert effective_u(1e-9, 0.2) == 0.4
    assert np.isfinite(randomized_failure(10, 10, 0.49, effective_u(1e-9, 0.49)))
    assert randomized_failure(10, 10, 0.49, effective_u(1e-9, 0.49)) > 0


def test_hits_too_few_to_tell_the_bound_from_zero():
    n = np.array([10, 10**5, 10**8])
    found = randomized_failure(1, n, 1e-9, 0.3)
    assert (found <= 1).all() and found[0] < 1 == found[-1]
    assert (found <= clopper_pearson_failure(1, n, 1e-9)).all()


@pytest.mark.parametrize("u", [0.0, ALPHA, 1.1, -1.0, float("nan"), [0.5, 1.1]])
def test_refuses_variates(u):
    with pytest.raises(ValueError, match="u: must lie"):
        randomized_failure(5, 10, ALPHA, u)


def test_refuses_more_hits_than_draws():
    with pytest.raises(ValueError, match="k: must not exceed n"):
        randomized_failure(11, 10, ALPHA, 0.5)


@pytest.mark.parametrize("alpha", [0.3, 0.01, 1e-3, 1e-9])
def test_the_smallest_count_that_certifies(alpha):
    n = np.array([1, 5, 9, 10, 29, 30, 31, 100, 12345, 10**6])
    k = smallest_count_to_certify(n, alpha)
    reachable = k <= n
    assert (clopper_pearson_lower(k[reachable], n[reachable], alpha) > 0.5).all()
    assert (clopper_pearson_lower(k - 1, n, alpha) <= 0.5).all()
    assert (reachable == (clopper_pearson_lower(n, n, alpha) > 0.5)).all()


def test_ten_hits_of_ten_do_not_certify_at_the_level_that_leaves_one_half():
    assert smallest_count_to_certify([10, 11], 2.0**-10).tolist() == [11, 11]
    assert smallest_count_to_certify(10, 2.0**-10 * (1 + 1e-9)) == 10
