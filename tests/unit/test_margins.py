"""Every margin that is given away to rounding: with it a claim holds in exact arithmetic, and without it some would not.

Expectations are computed with fractions (floats are binary fractions) or in 40-digit arithmetic.
"""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special
from scipy.special import ndtr

from certflow import SmoothedClassifier
from certflow.certify import gaussian_radius, gaussian_radius_two_bound, gg_np_radius
from certflow.certify.bounds import guarded
from certflow.certify.double_sampling.counted import lower, upper
from certflow.certify.kinds.inscribed import inscribed_radius
from certflow.certify.predict import predict_classes
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.noise.radii.checks import RADIUS_GUARD
from certflow.noise.streams import Stream
from certflow.sampling.base import PlannedImages
from certflow.sampling.ladder import LARGEST_DIM, ladder
from certflow.stats import (
    clopper_pearson_failure,
    clopper_pearson_lower,
    clopper_pearson_upper,
    effective_u,
    failures_quantile,
    randomized_failure,
    randomized_upper,
    smallest_count_to_certify,
)
from certflow.stats.complement import complement_down
from certflow.stats.sequential import acceptance_counts, log_e_value

ALPHA = 0.001


def below(k: int, n: int, p: mpmath.mpf) -> mpmath.mpf:
    """P(Bin(n, p) <= k) for k below the mean, summed from the largest term down."""
    term = mpmath.exp(mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1))
    term *= p**k * (1 - p) ** (n - k)
    total = mpmath.mpf(0)
    while k >= 0 and term > total * mpmath.mpf(10) ** -25:
        total += term
        term *= k * (1 - p) / ((n - k + 1) * p)
        k -= 1
    return total


def cases() -> list[tuple[int, int]]:
    """(k, n) with few misses, so that a tail has few terms."""
    generator, found = np.random.default_rng(1), []
    for n in (200, 5000, 10**5, 10**7, 10**8):
        found += [(n - int(miss), n) for miss in generator.integers(1, min(n // 50 + 3, 600), 8)]
    return found


def level_of(failure: float, k: int, n: int, slack: float = 0.0) -> mpmath.mpf:
    """P(Bin(n, 1 - failure + slack) >= k): what a lower bound 1 - failure on the success probability is wrong with."""
    with mpmath.workdps(40):
        return below(n - k, n, mpmath.mpf(float(failure)) - mpmath.mpf(slack))


def test_bounds_keep_their_level_in_exact_arithmetic():
    """One-bound and two-bound form, plain and randomised, and the four bounds of double sampling."""
    unguarded = []
    for k, n in cases():
        _, p_lower = gaussian_radius(k, n, ALPHA, 1.0)
        assert level_of(1 - mpmath.mpf(float(p_lower)), k, n) <= ALPHA
        counted = np.array([k]), np.array([n])
        assert level_of(1 - mpmath.mpf(float(lower(counted, ALPHA)[0])), k, n) <= ALPHA
        counted = np.array([n - k]), np.array([n])
        assert level_of(float(upper(counted, ALPHA)[0]), k, n) <= ALPHA
        _, p_lower, p_upper = gaussian_radius_two_bound(k, n - k, n, ALPHA, 1.0)
        assert level_of(1 - mpmath.mpf(float(p_lower)), k, n) <= ALPHA / 2
        assert level_of(float(p_upper), k, n) <= ALPHA / 2
        unguarded.append(level_of(float(clopper_pearson_failure(k, n, ALPHA)), k, n) > ALPHA)
    assert any(unguarded), "the margin must matter in some of these cases"


def test_randomised_bounds_keep_their_level_in_exact_arithmetic():
    exceeded = []
    for k, n in cases():
        for u in (0.05, 0.6):
            _, p_lower = gaussian_radius(k, n, ALPHA, 1.0, u)
            failure = 1 - mpmath.mpf(float(p_lower))
            with mpmath.workdps(40):
                share = mpmath.mpf(u)
                level = (1 - share) * level_of(failure, k + 1, n) + share * level_of(failure, k, n)
                bare = float(randomized_failure(k, n, ALPHA, u))
                exceeded.append((1 - share) * level_of(bare, k + 1, n) + share * level_of(bare, k, n) > ALPHA)
            assert level <= ALPHA
    assert any(exceeded), "the margin must matter in some of these cases"


def test_the_level_that_bounds_are_computed_at_is_what_the_docstring_says():
    n = np.array([1, 1000, 10**5, 10**6, 10**8])
    np.testing.assert_array_equal(guarded(0.01, n), 0.01 * (1 - np.array([1e-9, 1e-9, 1e-9, 1e-8, 1e-6])))
    two, other = gaussian_radius_two_bound(90, 10, 100, 0.01, 1.0)[1:]
    np.testing.assert_allclose(1 - two, clopper_pearson_failure(90, 100, guarded(0.01, 100) / 2), rtol=1e-15)
    np.testing.assert_allclose(other, clopper_pearson_upper(10, 100, guarded(0.01, 100) / 2), rtol=1e-15)


def test_radii_lie_below_those_of_their_probabilities_in_exact_arithmetic():
    """And by the stated share, not more. Without it rounding would lift about half of them above."""
    generator = np.random.default_rng(2)
    n = generator.integers(50, 10**5, 200)
    k = (n * generator.uniform(0.7, 1, 200)).astype(int)
    other = ((n - k) * generator.uniform(0, 1, 200)).astype(int)
    one = gaussian_radius(k, n, ALPHA, 0.25)[0]
    two = gaussian_radius_two_bound(k, other, n, ALPHA, 0.25)[0]
    exact = gg_np_radius(1 - clopper_pearson_failure(k, n, ALPHA), 784, 0, 0.25)
    with mpmath.workdps(40):
        z = lambda q: mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(float(q)))  # noqa: E731
        for row in range(200):
            level = guarded(ALPHA, n[row])
            failure = clopper_pearson_failure(k[row], n[row], level)
            _check_below(one[row], z(failure) / 4)
            failure = clopper_pearson_failure(k[row], n[row], level / 2)
            rival = min(clopper_pearson_upper(other[row], n[row], level / 2), failure)
            _check_below(two[row], (z(failure) + z(rival)) / 8, (abs(z(failure)) + abs(z(rival))) / 8)
            _check_below(exact[row], z(1 - (1 - clopper_pearson_failure(k[row], n[row], ALPHA))) / 4)


def _check_below(radius: float, wanted: mpmath.mpf, terms: mpmath.mpf | None = None) -> None:
    """terms: size of what the wanted radius is the sum of, whose rounding counts where they nearly cancel."""
    share = 1 - mpmath.mpf(float(radius)) / wanted if wanted > 0 else mpmath.mpf(1)
    most = 2 * RADIUS_GUARD * (1 if terms is None else terms / wanted)
    assert RADIUS_GUARD / 2 < share < most if wanted > 1e-3 else share > 0


def test_complements_and_slack_are_rounded_away_from_the_claim():
    generator = np.random.default_rng(3)
    n = generator.integers(20, 10**6, 300)
    k = (n * generator.uniform(0.3, 1, 300)).astype(int)
    other = ((n - k) * generator.uniform(0, 1, 300)).astype(int)
    level = guarded(ALPHA, n)
    for slack in (0.0, 1e-13, 3e-7, 0.011):
        _, one = gaussian_radius(k, n, ALPHA, 1.0, slack=slack)
        _, two, rival = gaussian_radius_two_bound(k, other, n, ALPHA, 1.0, slack=slack)
        for bound, at in ((one, level), (two, level / 2)):
            failure = clopper_pearson_failure(k, n, at)
            for claimed, lost in zip(bound, failure, strict=True):
                assert Fraction(float(claimed)) <= max(1 - Fraction(float(lost)) - Fraction(slack), 0)
        above = clopper_pearson_upper(other, n, level / 2)
        lost = clopper_pearson_failure(k, n, level / 2)
        for claimed, bare, failure in zip(rival, above, lost, strict=True):
            wanted = min(Fraction(float(bare)), Fraction(float(failure))) + Fraction(slack)
            assert Fraction(float(claimed)) >= min(wanted, 1)


def test_a_complement_is_the_largest_number_that_is_not_above():
    failure = np.concatenate([np.random.default_rng(5).uniform(0, 1, 300), [0.0, 0.25, 0.5, 1e-17, 1.0]])
    for lost, kept in zip(failure, complement_down(failure), strict=True):
        room = 1 - Fraction(float(lost))
        assert Fraction(float(kept)) <= room
        assert lost > 0.5 or kept == 1.0 or room < Fraction(float(np.nextafter(kept, 2.0)))


def test_slack_is_taken_from_both_of_two_bounds():
    """Each by itself: the class's own bound falls and the runner-up's rises, by the whole slack."""
    plain, loose = (gaussian_radius_two_bound(600, 100, 1000, ALPHA, 1.0, slack=slack) for slack in (0.0, 0.01))
    assert loose[1] == pytest.approx(plain[1] - 0.01, abs=1e-15) and loose[2] == pytest.approx(
        plain[2] + 0.01, abs=1e-15
    )
    distance = special.ndtri(loose[1]) - special.ndtri(loose[2])
    assert loose[0] == pytest.approx(distance / 2, rel=1e-9)
    coins = gaussian_radius_two_bound(600, 100, 1000, ALPHA, 1.0, 0.5, 0.7, slack=0.01)
    level = guarded(ALPHA, 1000) / 2
    assert 1 - coins[1] == pytest.approx(randomized_failure(600, 1000, level, 0.5) + 0.01, rel=1e-14)
    assert coins[2] == pytest.approx(randomized_upper(100, 1000, level, 0.7) + 0.01, rel=1e-14)


def test_linf_radii_are_never_above_the_l2_radius_over_the_root():
    """linf^2 d <= l2^2 in exact arithmetic. Rounded to nearest, a third of them would lie above."""
    generator = np.random.default_rng(4)
    bare = 0
    for dim in (3, 12, 64, 784, 3072, 150_528):
        radius = generator.uniform(0, 4, 300)
        found = inscribed_radius(radius, "l2", "linf", dim)
        for l2, linf, nearest in zip(radius, found, radius / np.sqrt(dim), strict=True):
            assert Fraction(float(linf)) ** 2 * dim <= Fraction(float(l2)) ** 2
            bare += Fraction(float(nearest)) ** 2 * dim > Fraction(float(l2)) ** 2
        np.testing.assert_allclose(found, radius / math.sqrt(dim), rtol=1e-15)
    assert bare > 200


def test_variates_are_raised_so_that_no_bound_reaches_one():
    np.testing.assert_array_equal(effective_u([0.001, 0.02, 0.5], 0.001), [0.02, 0.02, 0.5])
    np.testing.assert_array_equal(effective_u([0.001, 0.25, 0.5], 0.1), [0.2, 0.25, 0.5])
    for alpha in (0.001, 0.2, 0.49):
        radius, p_lower = gaussian_radius(10, 10, alpha, 1.0, u=1e-9)
        assert p_lower <= 0.05 ** (1 / 10) + 1e-9 if alpha == 0.001 else p_lower <= 0.5**0.1
        assert np.isfinite(radius)


@pytest.mark.parametrize("alpha", [0.01, 0.125, 0.3])
def test_a_tie_of_the_table_bound_goes_to_more_failures(alpha):
    """One certificate fails with probability alpha = rho: exactly tied, and rounding may not decide for fewer failures."""
    assert failures_quantile(1, alpha, alpha) == 1
    for share, failures in ((-1e-6, 1), (0.95e-9, 1), (1.05e-9, 0)):
        assert failures_quantile(1, alpha, alpha * (1 + share)) == failures, "a share of 1e-9 is given away"


def test_the_table_bound_spends_rho_and_not_half_or_twice_of_it():
    """Just above and just below every tail of the binomial law the quantile is the one on either side of it."""
    m, alpha = 40, 0.05
    with mpmath.workdps(30):
        tails = [float(1 - below(q, m, mpmath.mpf(alpha)) if q < 2 else _above(q, m, alpha)) for q in range(8)]
    for q, tail in enumerate(tails):
        assert failures_quantile(m, alpha, tail * (1 + 1e-6)) == q
        assert failures_quantile(m, alpha, tail * (1 - 1e-6)) == q + 1


def _above(q: int, m: int, alpha: float) -> mpmath.mpf:
    p = mpmath.mpf(alpha)
    return sum(mpmath.binomial(m, j) * p**j * (1 - p) ** (m - j) for j in range(q + 1, m + 1))


@pytest.mark.parametrize("k, n, p0", [(640, 1000, 0.5), (9300, 10_000, 0.9), (97, 100, 0.8)])
def test_the_sequential_test_leaves_its_margin(k, n, p0):
    """Where the evidence exceeds the threshold by less than its rounding error nothing is rejected."""
    looks = np.array([n])
    evidence = float(log_e_value(k, n, p0, 1 - p0))
    for spare, wanted in ((-0.5e-6, k + 1), (0.95e-6, k + 1), (1.05e-6, k)):
        assert acceptance_counts(looks, p0, 1 - p0, math.exp(spare - evidence))[0] == wanted


def test_slack_raises_both_sides_of_every_rung():
    radii, looks = np.array([0.0, 0.5, 1.5]), np.array([50, 200, 1000])
    found = ladder(radii, ndtr(-radii / 0.5), looks, alpha=ALPHA, beta=0.02, slack=0.004)
    for rung, radius in enumerate(radii):
        p0, q0 = special.ndtr(radius / 0.5) + 0.004, special.ndtr(-radius / 0.5) - 0.004
        wanted = acceptance_counts(looks, p0, q0, ALPHA) if q0 > 0 else looks + 1
        np.testing.assert_array_equal(found.accept[rung], wanted)
    only_p = acceptance_counts(looks, special.ndtr(1.0) + 0.004, special.ndtr(-1.0), ALPHA)
    assert (found.accept[1] != only_p).any(), "both of p0 and q0 must matter here"


def test_exact_decisions_give_the_distance_of_the_largest_image_away(monkeypatch):
    asked = []
    monkeypatch.setattr(Gaussian, "distance", lambda noise, dim: asked.append(dim) or 0.01)
    sampler = spec_class("sampler", "decide")(
        n0=9, test="mixture", radii=[0.0, 0.5], n_max=300, look=100, arithmetic="exact"
    )
    columns = {"n": np.array([300, 300]), "selected": np.array([0, 1])}
    (measurement,) = sampler.measurements(PlannedImages(columns, Gaussian(sigma=0.5)))
    radii, looks = np.array([0.0, 0.5]), measurement.rule.looks
    wanted = ladder(radii, ndtr(-radii / 0.5), looks, alpha=0.001, beta=0.02, slack=0.01)
    np.testing.assert_array_equal(measurement.rule.accept, wanted.accept)
    assert asked == [LARGEST_DIM] and measurement.stream == Stream.ESTIMATION


@pytest.fixture
def door() -> SmoothedClassifier:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight *= 0.02
        model[1].bias[:] = torch.tensor([0.004, 0.0])
    return SmoothedClassifier(model, Gaussian(sigma=0.5), device="cpu")


def test_the_door_gives_the_distance_of_exact_noise_away(door, monkeypatch):
    images = np.zeros((2, 3, 2, 2), np.uint8)
    options = {"n0": 50, "n": 2000, "arithmetic": "exact", "quiet": True, "seed": 7}
    plain = door.certify(images, **options)
    monkeypatch.setattr(Gaussian, "distance", lambda noise, dim: 0.001 * dim)
    table = door.certify(images, **options)
    wanted = gaussian_radius(table["k"].to_numpy(), 2000, 0.001, 0.5, slack=0.012)
    pd.testing.assert_series_equal(table["k"], plain["k"])
    np.testing.assert_array_equal(table[["radius", "p_lower"]].to_numpy().T, wanted)
    assert (table["p_lower"] < plain["p_lower"] - 0.0119).all() and (plain["radius"] > 0).all()


def test_exact_predictions_give_away_what_all_their_draws_miss_together(door, monkeypatch):
    """n draws miss the ideal law by at most n times what one of them does."""
    images = np.zeros((1, 3, 2, 2), np.uint8)
    options = {"n": 40, "alpha": 0.01, "arithmetic": "exact", "quiet": True, "seed": 7}
    table = door.predict(images, **options)
    p_value = float(table["p_value"][0])
    assert table["predict"][0] >= 0 and 1e-9 < p_value < 0.009
    for left, predicted in ((0.999, False), (1.001, True)):
        monkeypatch.setattr(Gaussian, "distance", lambda noise, dim, left=left: (0.01 - left * p_value) / 40)
        assert (door.predict(images, **options)["predict"][0] >= 0) == predicted


def test_predictions_are_given_up_to_alpha_and_not_beyond():
    _, p_value = predict_classes(np.array([[70, 30]]), 0.01)
    p = float(p_value[0])
    assert predict_classes(np.array([[70, 30]]), p)[0][0] == 0
    assert predict_classes(np.array([[70, 30]]), p * (1 - 1e-12))[0][0] == -1


def test_the_smallest_count_to_certify_is_the_first_whose_bound_exceeds_one_half():
    for n in (11, 60, 999):
        k = int(smallest_count_to_certify(n, ALPHA))
        assert clopper_pearson_lower(k, n, ALPHA) > 0.5 >= clopper_pearson_lower(k - 1, n, ALPHA)
