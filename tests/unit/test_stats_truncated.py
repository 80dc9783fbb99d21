"""Truncated tests: exact sizes against a slow enumeration, monotone acceptance, and boundaries that spend what they may."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.special import ndtr

from certflow.sampling.ladder import planned_ladder
from certflow.stats.lattice import Prior, atoms
from certflow.stats.optimal import Rungs, boundaries, growing_looks
from certflow.stats.truncated import GUARD, least_counts, size, spending

LOOKS = np.array([4, 9, 15])
ACCEPT = np.array([4, 8, 12])


def enumerated(p: Fraction) -> list[Fraction]:
    """P(rejected at or before each look), from all ways in which the hits of the three steps can fall."""
    steps, spent = np.diff(LOOKS, prepend=0).tolist(), [Fraction(0)] * 3
    for hits in itertools.product(*(range(m + 1) for m in steps)):
        law = Fraction(1)
        for x, m in zip(hits, steps, strict=True):
            law *= comb(m, x) * p**x * (1 - p) ** (m - x)
        reached = np.cumsum(hits) >= ACCEPT
        for look in range(3):
            spent[look] += law * bool(reached[: look + 1].any())
    return spent


@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(7, 10), Fraction(99, 100)])
def test_spending_is_the_probability_that_an_enumeration_of_all_paths_gives(p):
    expected = [float(x) for x in enumerated(p)]
    assert spending(LOOKS, ACCEPT, float(1 - p)) == pytest.approx(expected, rel=1e-9)


def test_acceptance_is_monotone_in_p():
    grid = np.linspace(0.01, 0.99, 99)
    sizes = [size(LOOKS, ACCEPT, 1 - p) for p in grid]
    assert (np.diff(sizes) > 0).all()


def test_a_test_that_never_rejects_has_size_0():
    assert size(LOOKS, LOOKS + 1, 0.3) < 1e-15


def test_what_lies_outside_the_window_counts_as_rejected():
    """The size may err upwards only: the mass that is kept and the mass that is spent make one, or a little more."""
    looks = growing_looks(50, 100_000)
    spent = spending(looks, looks + 1, 0.2)
    assert 0 < spent[-1] < 1e-14 and (np.diff(spent) > 0).all()


@pytest.mark.parametrize("q0", [0.5, 0.16, 0.0062, 0.00048])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_least_counts_spend_no_more_than_allowed_and_cannot_be_lowered(q0, alpha):
    looks = growing_looks(50, 20_000)
    allowed = alpha * np.linspace(0.05, 1, len(looks))
    accept = least_counts(looks, allowed, q0)
    spent = spending(looks, accept, q0)
    assert (spent <= allowed * (1 - GUARD / 2)).all()
    for look in (20, len(looks) - 1):
        lower = accept.copy()
        lower[look] -= 1
        assert spending(looks, lower, q0)[look] > allowed[look] * (1 - 2 * GUARD)


def test_a_level_is_not_spent_to_its_last_bit():
    """Five hits of five at p0 = 1/2 spend 2**-5: too much for that level, and not for one that is larger by the guard."""
    level = np.array([2.0**-5])
    for share, count in ((0, 6), (0.95e-6, 6), (1.05e-6, 5)):
        assert least_counts(np.array([5]), level * (1 + share), 0.5) == [count]


SIGMAS = (0.25, 0.5, 1.0)


def ladder_of(sigma: float) -> list[float]:
    """Phi(-r / sigma) for the radii of the shipped ladders, as far as 100,000 draws can prove them."""
    return [float(ndtr(-r / sigma)) for r in np.arange(0, 2.51, 0.25) if r / sigma <= 3.9]


def shipped_limits() -> list[float]:
    """Those of all ladders in the shipped configurations and defaults."""
    return sorted({q0 for sigma in SIGMAS for q0 in ladder_of(sigma)})


@pytest.mark.parametrize("q0", shipped_limits())
def test_the_mixture_keeps_its_level_at_every_shipped_limit(q0):
    rule = planned_ladder((0.5,), (q0,), 100, 100_000, 0.001, 0.02, 0.0)
    assert size(rule.looks, rule.accept[0], q0) <= 0.001


@pytest.mark.parametrize("sigma", SIGMAS[1:])
def test_every_optimal_test_of_a_shipped_ladder_spends_its_level_and_not_more(sigma):
    """The limits at the smallest sigma are among those at the next one."""
    looks, limits = growing_looks(100, 20_000), ladder_of(sigma)
    z = atoms(limits)[0]
    prior = Prior(z, np.full(len(z), 1 / len(z)))
    rules = Rungs(limits, looks, prior, 0.001).solve([2.0**17] * len(limits))
    for q0, rule in zip(limits, rules, strict=True):
        accept, give_up = boundaries(q0, looks, rule, 0.001)
        found = size(looks, accept, q0)
        assert found <= 0.001
        assert q0 < 0.02 or found > 0.0008, "whole numbers leave more unspent only where misses are few"
        assert (give_up[:-1] < accept[:-1]).all()


def test_the_size_is_the_share_of_streams_that_are_rejected():
    """At p0, 100,000 streams that nobody gives up, drawn step by step."""
    q0, looks, rng = 0.16, growing_looks(50, 2000), np.random.default_rng(0)
    accept = least_counts(looks, 0.05 * np.linspace(0.1, 1, len(looks)), q0)
    misses, rejected = np.zeros(100_000, np.int64), np.zeros(100_000, bool)
    for draws, n, least in zip(np.diff(looks, prepend=0), looks, accept, strict=True):
        misses += rng.binomial(draws, q0, len(misses))
        rejected |= n - misses >= least
    assert rejected.mean() == pytest.approx(size(looks, accept, q0), abs=4 * (0.05 / len(misses)) ** 0.5)
