"""Bounds on random pairs hold as often as they say, on fresh samples of a law whose probabilities are known."""

import numpy as np
import pytest
from scipy.stats import binom, chi

from certflow import knowledge
from certflow.knowledge import bounds
from certflow.knowledge.evidence import Pairs, kernel_evidence
from certflow.knowledge.pairs import points

DIM, ACCURACY, ALPHA, N, REPEATS = 10, 0.9, 0.05, 120, 300
APART = chi(DIM, scale=np.sqrt(2))
"""Law of the distance between two standard normal points."""
DELTA = 3.0
MEAN_FAR = APART.expect(lambda d: DELTA / d, lb=DELTA, ub=np.inf)
KERNEL = 2 * ACCURACY * (1 - ACCURACY) * (APART.cdf(DELTA) + MEAN_FAR)
"""The kernel's mean: errors are independent of the points."""
EVENT = 2 * ACCURACY * (1 - ACCURACY) * APART.cdf(DELTA)
FAILURES = int(binom.isf(1e-6, REPEATS, ALPHA))
"""More failures than this do not happen once in a million runs to a bound that keeps its level."""


def sample(seed, n=N):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, DIM)), (rng.random(n) > ACCURACY).astype(float)


@pytest.mark.parametrize("name", list(bounds.BOUNDS))
def test_bounds_of_the_kernel_are_seldom_too_small(name):
    """The asymptotic ones are measured at 0.94 where 0.95 is asked: they get the same limit, and no more is claimed."""
    failures, excess = 0, []
    for seed in range(REPEATS):
        z, losses = sample(seed)
        drawn = points(z, losses)
        (evidence,) = kernel_evidence(drawn, Pairs.drawn(drawn, None, seed), np.array([DELTA]), 1.0, 200, seed)
        upper = bounds.upper(name, evidence, ALPHA)
        failures += upper < KERNEL
        excess.append(upper - KERNEL)
    assert failures <= (FAILURES if bounds.BOUNDS[name].sound else 2 * FAILURES)
    assert 0 < np.mean(excess) < (0.3 if bounds.BOUNDS[name].sound else 0.1)


def test_certified_shares_are_seldom_too_small_and_shrink_with_the_sample():
    joint = conditional = direct = 0
    means = {}
    for n in (N, 4 * N):
        found = []
        for seed in range(REPEATS if n == N else 40):
            (row,) = knowledge.certify(*sample(seed, n), [DELTA], [1.0], ALPHA, seed=seed).itertuples()
            found.append(row.joint_bound)
            joint += row.joint_bound < EVENT
            conditional += row.conditional_bound < 2 * ACCURACY * (1 - ACCURACY)
            direct += row.direct_upper < EVENT
        means[n] = np.mean(found)
    assert max(joint, conditional) == 0, "Markov's slack lies above the sampling error"
    assert direct <= FAILURES
    assert means[4 * N] < means[N]


def test_the_share_of_near_pairs_is_seldom_overstated():
    """Uniformly in δ: the largest gap over a grid."""
    deltas, failures = np.linspace(1, 8, 15), 0
    truth = APART.cdf(deltas)
    for seed in range(REPEATS):
        drawn = points(*sample(seed))
        pairs = Pairs.drawn(drawn, None, seed)
        width = bounds.hoeffding_width(len(pairs), 1.0, ALPHA)
        failures += any(pairs.near(delta) - width > share for delta, share in zip(deltas, truth, strict=True))
    assert failures <= FAILURES
    tight = sum(
        any(
            pairs.near(delta) - bounds.hoeffding_width(len(pairs), 1.0, 0.5) > share
            for delta, share in zip(deltas, truth, strict=True)
        )
        for pairs in (Pairs.drawn(points(*sample(seed)), None, seed) for seed in range(REPEATS))
    )
    assert tight > FAILURES, "at level one half it fails more often: the test can see a width that is too small"


@pytest.mark.parametrize("bound", ["clt", "emp_bernstein"])
def test_the_scanned_distance_is_seldom_too_large(bound):
    """The share is the true one at the fifth δ, so that any larger δ returned is a failure. Full level for each of 25 tests."""
    deltas = np.linspace(2.0, 4.4, 25)
    far = [APART.expect(lambda d, at=delta: at / d, lb=delta, ub=np.inf) for delta in deltas[:6]]
    truth = 2 * ACCURACY * (1 - ACCURACY) * (APART.cdf(deltas[:6]) + np.array(far))
    share = float(truth[4]) * (1 + 1e-9)
    failures = 0
    for seed in range(REPEATS):
        star = knowledge.largest_distance(*sample(seed, 200), deltas, 1.0, share, ALPHA, bound, seed=seed)
        failures += star > deltas[4]
    assert failures <= (FAILURES if bound == "emp_bernstein" else 2 * FAILURES)
    assert bound == "emp_bernstein" or failures > 0


def test_each_point_is_too_bold_as_seldom_as_it_says():
    """Given the first point, a right one at the origin's distance 3, the others are fresh in each repeat."""
    anchor = np.zeros(DIM)
    anchor[0] = 3.0
    rng = np.random.default_rng(9)
    away = np.linalg.norm(rng.normal(size=(400_000, DIM)) - anchor, axis=1)
    deltas = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    truth = (1 - ACCURACY) * np.minimum(1, deltas[:, None] / away).mean(1)
    share = float(truth[1]) * 1.01
    failures = 0
    for seed in range(REPEATS):
        z, losses = sample(seed)
        z[0], losses[0] = anchor, 0.0
        star = knowledge.certify_points(z, losses, deltas, 1.0, share, ALPHA).delta_star[0]
        failures += star > deltas[1]
    assert failures <= FAILURES
