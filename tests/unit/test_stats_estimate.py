"""The preview of a table: what it comes to, and how wide it says it is."""

import numpy as np
import pytest
from scipy.special import ndtr

from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.stats import clopper_pearson_failure
from certflow.stats.deconvolution import GRID
from certflow.stats.estimate import certification_power, estimated_accuracy

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


def piloted(z: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, n) of the sampler's own rule."""
    pilot = spec_class("sampler", "pilot")()
    plan = {"n": np.full(len(z), pilot.n_max), "selected": np.zeros(len(z), int)}
    rule = pilot.measurements(plan, Gaussian(sigma=0.5))[0].rule
    rng, k, n, going = np.random.default_rng(seed), np.zeros(len(z), int), np.zeros(len(z), int), np.arange(len(z))
    for look, drawn in enumerate(rule.looks):
        k[going] += rng.binomial(drawn - n[going], ndtr(z[going]))
        n[going] = drawn
        going = going[~rule.judge(look, k[going], np.full(len(going), -1.0))[1]]
    assert len(going) == 0
    return k, n


def test_an_estimate_is_near_the_table_and_its_interval_around_it():
    z = np.random.default_rng(1).normal(1.2, 1.2, 2000)
    k, n = piloted(z, 2)
    assert 100 < n.mean() < 200
    found = estimated_accuracy(k, n, LIMITS, resamples=20)
    truth = np.array([(ndtr(-z) < limit).mean() for limit in LIMITS])
    assert found.value == pytest.approx(truth, abs=0.03)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert (found.high - found.low > 0.02).all() and (found.high - found.low < 0.1).all()
    assert found.weights.sum() == pytest.approx(1)


def test_it_depends_on_counts_and_seed_alone():
    k, n = piloted(np.linspace(-1, 3, 100), 3)
    one, other = (estimated_accuracy(k, n, LIMITS, resamples=5) for _ in range(2))
    assert np.array_equal(one.low, other.low) and np.array_equal(one.value, other.value)


def test_the_pilot_looks_at_misses_only():
    pilot = spec_class("sampler", "pilot")()
    plan = {"n": np.array([300, 300]), "selected": np.array([0, 0])}
    (measurement,) = pilot.measurements(plan, Gaussian(sigma=0.5))
    decided, finished = measurement.rule.judge(0, np.array([45, 46]), np.full(2, -1.0))
    assert finished.tolist() == [True, False] and (decided == -1).all()
    assert measurement.rule.judge(len(measurement.rule.looks) - 1, np.array([300]), np.array([-1.0]))[1].all()
    assert pilot.judges_label and "first: must be at most" in type(pilot)(first=400).problems()[0]
