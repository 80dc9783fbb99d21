"""The sequential test: known values, whole-number thresholds, schedules of looks."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import ndtr

from certflow.stats.sequential import acceptance_counts, log_e_value, look_schedule

KNOWN = {
    0.0: {100: 71, 500: 299, 1000: 571, 5000: 2664, 10_000: 5235, 100_000: 50_781},
    1.0: {100: 97, 500: 453, 1000: 889, 5000: 4321, 10_000: 8578, 100_000: 84_688},
    2.0: {100: 101, 500: 499, 1000: 994, 5000: 4929, 10_000: 9835, 100_000: 97_939},
    3.0: {5000: 5001, 10_000: 9999, 100_000: 99_912},
}
"""radius / sigma → draws → least count that certifies at alpha = 0.001; draws + 1 where none does. From a numerical prototype
of the same test, computed independently of this code."""


@pytest.mark.parametrize("z", KNOWN)
def test_thresholds_have_their_known_values(z):
    looks = np.array(list(KNOWN[z]))
    assert acceptance_counts(looks, ndtr(z), ndtr(-z), 0.001).tolist() == list(KNOWN[z].values())


def test_known_values_of_the_process():
    assert log_e_value(900, 1000, ndtr(1), ndtr(-1)) == pytest.approx(12.161339344, abs=1e-9)
    assert log_e_value(600, 1000, 0.5, 0.5) == pytest.approx(17.148734795, abs=1e-9)


@pytest.mark.parametrize(("k", "n", "p0"), [(8, 10, 0.5), (40, 50, 0.6), (95, 100, 0.9), (7, 7, 0.3)])
def test_the_process_is_the_integral_that_defines_it(k, n, p0):
    prior = stats.beta(0.5, 0.5)

    def integrand(p):
        return prior.pdf(p) * math.exp(k * math.log(p / p0) + (n - k) * math.log((1 - p) / (1 - p0)))

    value = integrate.quad(integrand, p0, 1, epsabs=0, epsrel=1e-9, limit=200)[0] / prior.sf(p0)
    assert log_e_value(k, n, p0, 1 - p0) == pytest.approx(math.log(value), abs=1e-6)


def test_thresholds_are_the_least_counts_that_reject():
    looks = np.arange(1, 300)
    for p0 in (0.05, 0.5, 0.93):
        found = acceptance_counts(looks, p0, 1 - p0, 0.01)
        for n, k in zip(looks, found, strict=True):
            counts = np.arange(math.ceil(n * p0), n + 1)
            rejecting = counts[log_e_value(counts, n, p0, 1 - p0) >= math.log(100)]
            assert k == (rejecting.min() if len(rejecting) else n + 1)


def test_looks_start_at_the_first_and_end_at_the_last():
    looks = look_schedule(100, 100_000)
    assert looks[0] == 100 and looks[-1] == 100_000 and (np.diff(looks) > 0).all()
    assert (looks[1:] <= np.maximum(1.05 * looks[:-1], looks[:-1] + 100)).all()
    assert look_schedule(100, 100).tolist() == [100] and look_schedule(100, 150).tolist() == [100, 150]
    assert look_schedule(1, 5, growth=1.0).tolist() == [1, 2, 3, 4, 5] and look_schedule(7, 5).tolist() == [5]
    assert look_schedule(1, 61).tolist() == [*range(1, 40), *range(40, 60, 2), 60, 61], "by one, and from 40 on by 5 %"
