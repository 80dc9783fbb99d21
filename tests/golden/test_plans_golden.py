"""Planned numbers of draws agree with tables computed independently, entry by entry."""

import numpy as np
import pytest
from scipy.special import ndtr

from certflow.kinds.registry import spec_class
from certflow.sampling.planning.allocation import draws_at_price
from certflow.sampling.planning.posterior import posterior
from certflow.sampling.planning.scale import scale_of
from certflow.sampling.planning.tolerance import draws_table, tolerant_draws
from certflow.sampling.planning.utility import utility
from certflow.sampling.tuning import tuned
from certflow.stats.deconvolution import GRID
from certflow.stats.optimal import growing_looks

SCALE = scale_of(spec_class("noise", "gaussian")(sigma=0.5), "l2", None)
LIMITS = {"n_max": 100_000, "granularity": 200, "alpha": 0.001, "scale": SCALE}
PROBABILITIES = (0.51, 0.55, 0.60, 0.70, 0.80, 0.90, 0.95, 0.99, 0.995, 0.999, 1.0)
ISS_TABLE = [
    # tolerance in units of sigma (absolute) or as a share (relative), first p with draws, draws at PROBABILITIES
    ("absolute", 0.01 / 0.25, 0.521, "0 5600 5800 6000 6800 8800 11600 22600 29200 47200 85200"),
    ("absolute", 0.05 / 0.25, 0.585, "0 0 400 400 600 600 1000 2400 3600 8800 45400"),
    ("absolute", 0.10 / 0.25, 0.661, "0 0 0 200 200 200 400 800 1000 2800 21400"),
    ("absolute", 0.01 / 0.50, 0.513, "0 14600 14800 15400 17000 20800 25800 41600 49200 66400 92400"),
    ("absolute", 0.05 / 0.50, 0.545, "0 1400 1400 1400 1600 2200 3000 7000 10200 21400 67200"),
    ("absolute", 0.01 / 1.00, 0.509, "30400 30600 30800 31800 34000 39200 45400 61400 68000 80800 96200"),
    ("absolute", 0.05 / 1.00, 0.525, "0 4000 4000 4400 4800 6400 8600 17600 23400 40400 81800"),
    ("relative", 0.01, 0.505, "98000 84000 70200 51400 39600 32400 31400 37600 42200 55600 85800"),
    ("relative", 0.05, 0.505, "90400 47000 25800 11400 6400 4400 4200 5800 7200 13200 47200"),
    ("relative", 0.10, 0.505, "82000 27200 11600 4200 2200 1400 1400 1800 2400 4600 23000"),
]
ISS_COUNTS = (900, 1000, 1040, 1100, 1400, 1800, 1980, 1998, 2000)
ISS_PLANS = [
    ("absolute", 0.05 / 0.25, "0 0 0 400 400 800 4000 45400 45400"),
    ("absolute", 0.05 / 0.50, "0 0 1400 1400 1400 2400 11400 67200 67200"),
    ("absolute", 0.01 / 0.50, "0 14600 14600 14800 15800 22400 51800 92400 92400"),
    ("relative", 0.05, "0 99800 99800 85400 14600 4800 7800 47200 47200"),
]


@pytest.mark.parametrize("loss, tolerance, first, draws", ISS_TABLE)
def test_table_of_tolerated_losses(loss, tolerance, first, draws):
    table = draws_table(tolerance, loss, **LIMITS)
    at = [round(1000 * p) - 500 for p in PROBABILITIES]
    assert list(table[at]) == [int(n) for n in draws.split()]
    assert 500 + int(np.argmax(table > 0)) == round(1000 * first)


@pytest.mark.parametrize("loss, tolerance, draws", ISS_PLANS)
def test_draws_of_tolerated_losses(loss, tolerance, draws):
    found = tolerant_draws(np.array(ISS_COUNTS), 2000, tolerance, loss, **LIMITS)
    assert list(found) == [int(n) for n in draws.split()]


PRICED = [
    (
        1e-6,
        "500:100000 499:55600 498:42300 495:32200 475:21800 450:19400 400:17200 350:15900 275:15300 260:10800 250:4200 240:0",
    ),
    (1e-5, "500:20900 499:10800 495:7000 450:4200 400:3800 300:3300 275:3000 260:0"),
]


@pytest.mark.parametrize("price, pairs", PRICED)
def test_draws_at_a_price(price, pairs):
    """Within one step of the grid: the reference took means over 32 quantiles, these are exact."""
    k0, expected = np.array([[int(part) for part in pair.split(":")] for pair in pairs.split()]).T
    n, worth = utility(200, 100_000, 100, 0.001, 0.0, SCALE)
    found = draws_at_price(n, posterior(k0, 500, 0.15) @ worth.T, price)
    steps = np.searchsorted(n, found) - np.searchsorted(n, expected)
    assert (np.abs(steps) <= 1).all() and n[np.searchsorted(n, expected)].tolist() == expected.tolist()
    np.testing.assert_array_equal(found == 0, expected == 0)


LADDER = [
    # reward, counts from which on a radius holds, counts up to which it is given up, at looks 1, 11, 21, 31 and the last
    (114, "91 311 1172 4587 14072", "58 262 1104 4514 20000"),
    (117, "99 362 1396 5523 17011", "75 321 1338 5457 20000"),
    (134, "101 397 1579 6334 19613", "92 379 1549 6292 20000"),
]


def test_tests_that_are_tuned_again_are_those_that_were_planned():
    """Of images around 1.2 probits: stored plans stay what the same settings give. Bits of other machines may move a count."""
    law = np.exp(-np.square(GRID - 1.2) / 4)
    failure = ndtr(-np.array([0.5, 1.0, 2.0])).tolist()
    found = tuned(failure, growing_looks(100, 20_000), law / law.sum(), alpha=0.001, tolerance=0.01)
    for one, (reward, accept, give_up) in zip(found, LADDER, strict=True):
        at = [0, 10, 20, 30, -1]
        assert one.reward == reward
        assert np.abs(one.accept[at] - np.array(accept.split(), int)).max() <= 1
        assert np.abs(one.give_up[at] - np.array(give_up.split(), int)).max() <= 1
