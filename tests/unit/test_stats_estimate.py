"""The preview of a table: what it comes to, and how wide it says it is."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom, binomtest

from benchmarks.climbing import climbed
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.base import PlannedImages
from certflow.stats import clopper_pearson_failure
from certflow.stats.deconvolution import GRID, law_of, observed
from certflow.stats.estimate import REACH, certification_power, estimated_accuracy, radius_under

LIMITS = ndtr(-np.array([0.0, 0.5, 1.0, 2.0]))


def test_power_is_how_often_simulated_counts_are_certified():
    power = certification_power(LIMITS, 1000, 0.001)
    rng = np.random.default_rng(0)
    for at in (100, 125, 140):
        k = rng.binomial(1000, ndtr(GRID[at]), 20_000)
        failure = np.asarray(clopper_pearson_failure(k, 1000, 0.001))
        shown = (failure[:, None] < LIMITS).mean(axis=0)
        assert shown == pytest.approx(power[at], abs=0.015)
    assert (np.diff(power, axis=0) >= 0).all() and (np.diff(power, axis=1) <= 1e-12).all()


def test_the_misses_that_are_allowed_are_those_of_the_whole_list():
    limits = np.append(LIMITS, [1e-5, 0.004, 0.999])
    for n in (1, 40, 1000):
        misses = np.arange(n + 1)
        proven = np.searchsorted(clopper_pearson_failure(n - misses, n, 0.001), limits) - 1
        power = certification_power(limits, n, 0.001)
        assert ((power > 0).any(axis=0) == (proven >= 0)).all()
        expected = binom.cdf(proven, n, ndtr(-GRID)[:, None])
        assert power == pytest.approx(np.where(proven >= 0, expected, 0.0), abs=1e-12)


def piloted(z: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, n) of the sampler's own rule."""
    pilot = spec_class("sampler", "pilot")()
    plan = {"n": np.full(len(z), pilot.n_max), "selected": np.zeros(len(z), int)}
    found = climbed(
        pilot.measurements(PlannedImages(plan, Gaussian(sigma=0.5)))[0].rule, ndtr(z), np.random.default_rng(seed)
    )
    return found.k, found.drawn


def test_an_estimate_is_near_the_table_and_its_interval_around_it():
    z = np.random.default_rng(1).normal(1.2, 1.2, 2000)
    k, n = piloted(z, 2)
    assert 100 < n.mean() < 160
    found = estimated_accuracy(k, n, LIMITS)
    truth = np.array([(ndtr(-z) < limit).mean() for limit in LIMITS])
    assert found.value == pytest.approx(truth, abs=0.03)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert (found.high - found.low > 0.03).all() and (found.high - found.low < 0.08).all()


@pytest.mark.parametrize("missed", [0, 2, 250])
def test_images_that_are_all_decided_leave_the_interval_of_so_many_coins(missed):
    """500 images whose label is always hit or never: Clopper and Pearson's interval for as many coins, or little wider."""
    sure = np.repeat([160, 0], [500 - missed, missed])
    found = estimated_accuracy(sure, np.full(500, 160), LIMITS[:1])
    exact = binomtest(500 - missed, 500).proportion_ci()
    assert found.value[0] == pytest.approx(1 - missed / 500, abs=1e-3)
    assert (found.low[0], found.high[0]) == pytest.approx((exact.low, exact.high), abs=0.004)
    assert found.low[0] < exact.low + 1e-3 and found.value[0] <= found.high[0] <= 1


@pytest.mark.parametrize("images", [1, 49, 50, 99, 100, 101, 500, 501])
def test_images_that_all_show_the_same_leave_the_interval_of_so_many_coins(images):
    """Whether the weights of a law sum to 1 to the last bit must not matter."""
    found = estimated_accuracy(np.full(images, 135), np.full(images, 135), LIMITS[:1])
    exact = binomtest(images, images).proportion_ci()
    assert found.value[0] > 0.99 and found.low[0] == pytest.approx(exact.low, abs=0.012 if images > 1 else 0.2)


@pytest.mark.parametrize(("images", "share"), [(100, 0.99), (50, 0.98), (100, 0.01)])
def test_an_interval_holds_where_few_images_are_unlike_the_others(images, share):
    held, rng = [], np.random.default_rng(3)
    for seed in range(60):
        z = np.where(rng.random(images) < share, 3.7, -3.0)
        found = estimated_accuracy(*piloted(z, seed), LIMITS[:1])
        held.append(found.low[0] <= share <= found.high[0])
    assert np.mean(held) > 0.8, "nominal 0.95; 0.37 to 0.64 where only what the images show was counted"


def test_a_radius_that_no_draws_prove_is_estimated_at_none():
    k, n = piloted(np.linspace(-1, 3, 100), 3)
    found = estimated_accuracy(k, n, LIMITS[:1], draws=5)
    assert (found.value, found.low, found.high) == ([0.0], [0.0], [0.0])


def test_the_interval_is_wilsons_of_as_many_coins_as_tell_as_much():
    """A coin's deviation is shifted by 1.7 % of itself; no more than all images can be right, no fewer than none."""
    k, n = piloted(np.random.default_rng(1).normal(1.2, 1.2, 500), 2)
    limits = np.append(LIMITS, ndtr([-1.99, -2.25, -2.5]))
    mean, error = law_of(observed(k, n)).mean(certification_power(limits, 100_000, 0.001))
    coins = 1 / (error**2 / (mean * (1 - mean)) + 0.017**2)
    z = 1.959964
    roots = [np.roots([1 + z**2 / m, -2 * p - z**2 / m, p**2]) for p, m in zip(mean, coins, strict=True)]
    found = estimated_accuracy(k, n, limits)
    assert np.column_stack([found.high, found.low]) == pytest.approx(np.array(roots), abs=1e-6)
    sure = estimated_accuracy([40] * 30, [40] * 30, [0.5, 0.45])
    never = estimated_accuracy([0] * 30, [40] * 30, [0.5, 0.45])
    assert (sure.high == 1).all() and (never.low == 0).all()


def test_beyond_what_few_draws_can_tell_there_is_a_ceiling_only():
    k, n = piloted(np.linspace(-1, 3, 200), 3)
    found = estimated_accuracy(k, n, ndtr(-np.array([2.0, REACH, 2.6, 3.5])))
    assert np.isfinite(found.value[:2]).all() and np.isnan(found.value[2:]).all()
    assert (found.low[2:] == 0).all() and (found.high[2:] == found.high[1]).all()


def test_the_average_radius_is_the_area_under_the_accuracies():
    law = law_of(observed(*piloted(np.random.default_rng(4).normal(0.8, 1.0, 1500), 5)))
    radii = np.linspace(0, 2, 201)  # at sigma 0.5 and 1,000 draws, nothing is certified beyond
    found = radius_under(law, radii, ndtr(-2 * radii), 1000, 0.001)
    shares = law.weights @ certification_power(ndtr(-2 * radii), 1000, 0.001)
    assert shares[-1] == 0
    assert found.value == pytest.approx(0.01 * (shares.sum() - shares[0] / 2))
    assert 0 < found.low < found.value < found.high < 2


def test_images_beyond_reach_may_have_any_average_radius_beyond():
    """All draws of nine images in ten agree: their radii may be those of `REACH`, or all that 100,000 draws can prove, 3.8."""
    radii = np.linspace(0, 4, 401)
    law = law_of(observed(np.repeat([160, 0], [450, 50]), np.full(500, 160)))
    found = radius_under(law, radii, ndtr(-radii), 100_000, 0.001)
    assert found.low < 0.9 * REACH < found.value < found.high
    assert found.high > 0.9 * 3.8


def test_draws_and_alpha_are_those_of_the_table_that_is_estimated():
    k, n = piloted(np.linspace(-1, 3, 100), 3)
    few, many = (estimated_accuracy(k, n, LIMITS, draws=draws) for draws in (500, 100_000))
    strict = estimated_accuracy(k, n, LIMITS, draws=500, alpha=1e-6)
    assert (strict.value < few.value).all() and (few.value < many.value).all()


def test_the_pilot_looks_at_misses_only():
    pilot = spec_class("sampler", "pilot")()
    plan = {"n": np.array([200, 200]), "selected": np.array([0, 0])}
    (measurement,) = pilot.measurements(PlannedImages(plan, Gaussian(sigma=0.5)))
    decided, finished = measurement.rule.judge(0, np.array([52, 53, 60]), np.full(3, -1.0))
    assert finished.tolist() == [True, False, False] and (decided == -1).all()
    assert measurement.rule.judge(len(measurement.rule.looks) - 1, np.array([200]), np.array([-1.0]))[1].all()
    assert pilot.judges_label and "first: must be at most" in type(pilot)(first=400).problems()[0]
