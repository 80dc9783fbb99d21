"""The coarse lattice of misses: what it spans, that shares and means go through it unharmed, and where it is exact."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from certflow.stats.lattice import Prior, _cdf, interpolation, nodes_of, path

PRIOR = Prior(np.array([0.2, 0.9, 1.1, 2.5]), np.array([0.1, 0.4, 0.3, 0.2]))
Q0 = float(ndtr(-1.0))


@pytest.mark.parametrize("q0", [0.5, Q0, 0.001])
@pytest.mark.parametrize("n", [1, 9, 127, 128, 2000, 100_000])
def test_nodes_are_evenly_spaced_and_span_what_is_likely(n, q0):
    """8.5 deviations and a dozen counts to either side, by some 120 nodes."""
    nodes = nodes_of(n, q0)
    reach = 8.5 * np.sqrt(n * q0 * (1 - q0)) + 12
    low, high = max(0, int(n * q0 - reach)), min(n, int(n * q0 + reach))
    spacing = np.unique(np.diff(nodes))
    step = int(spacing[0]) if len(spacing) else 1
    assert len(spacing) <= 1 and step % 2 == 1, "cells are centred on nodes"
    assert nodes[0] == low and high - step < nodes[-1] <= high
    assert step in (least := -(-(high - low) // 120), least + 1, 1), "the closest odd spacing with 120 steps at most"


def test_interpolation_keeps_straight_lines_and_is_constant_beyond_the_ends():
    nodes = np.array([10, 13, 16, 19])
    weights = interpolation(np.array([2, 10, 11, 14.5, 18, 19, 25]), nodes)
    assert weights.sum(axis=1) == pytest.approx(np.ones(7)) and (weights >= 0).all() and (weights <= 1).all()
    assert weights @ (5.0 - 2 * nodes) == pytest.approx(5.0 - 2 * np.array([10, 10, 11, 14.5, 18, 19, 19]))
    assert ((weights > 0).sum(axis=1) <= 2).all()
    assert interpolation(np.array([3, 7]), np.array([7])).tolist() == [[1.0], [1.0]]


def test_views_are_bayes_rule_for_every_node():
    looks = np.array([40, 900])
    views, _ = path(Q0, looks, PRIOR)
    for n, view in zip(looks, views, strict=True):
        joint = PRIOR.weights * binom.pmf(view.nodes[:, None], n, ndtr(-PRIOR.z))
        seen = joint.sum(axis=1) > 1e-250
        assert np.array_equal(view.nodes, nodes_of(n, Q0)) and seen.sum() > 30
        posterior = joint[seen] / joint[seen].sum(axis=1, keepdims=True)
        assert view.posterior[seen] == pytest.approx(posterior, abs=1e-9)
        assert view.above[seen] == pytest.approx(posterior[:, PRIOR.z > 1.0].sum(axis=1), abs=1e-9)
        ratio = binom.pmf(view.nodes[seen], n, Q0) / joint[seen].sum(axis=1)
        small = ratio < 1e200
        assert view.ratio[seen][small] == pytest.approx(ratio[small], rel=1e-6)
        assert np.isfinite(view.ratio).all()


def test_steps_of_few_draws_are_the_exact_laws():
    looks = np.array([3, 10])
    views, steps = path(Q0, looks, PRIOR)
    assert [step.draws for step in steps] == [3, 7]
    q = ndtr(-PRIOR.z)
    first = PRIOR.weights @ binom.pmf(np.arange(4), 3, q[:, None])
    assert steps[0].ahead == pytest.approx(first[None], abs=1e-12)
    assert steps[0].null == pytest.approx(binom.pmf(np.arange(4), 3, Q0)[None], abs=1e-12)
    for h in range(4):
        more = np.arange(11) - h
        law = views[0].posterior[h] @ binom.pmf(more, 7, q[:, None])
        assert steps[1].ahead[h] == pytest.approx(law, abs=1e-11)
        assert steps[1].null[h] == pytest.approx(binom.pmf(more, 7, Q0), abs=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "near"), [(0, 1500, 0.01), (900, 2000, 0.01), (2000, 9000, 2e-4), (40_000, 46_000, 4.5e-4)]
)
def test_steps_keep_shares_means_and_variances(before, after, near):
    """From a node in the middle: far from it, the ends of the lattice hold what would lie beyond. Variances of few misses,
    whose tails are exact, are off by more."""
    looks = np.array([before, after]) if before else np.array([after])
    views, steps = path(Q0, looks, PRIOR)
    step, there, draws = steps[-1], views[-1].nodes, after - before
    for law in (step.ahead, step.null):
        assert law.sum(axis=1) == pytest.approx(np.ones(len(law)), abs=1e-9) and (law > -1e-12).all()
    middle = len(step.null) // 2
    start = int(views[0].nodes[middle]) if before else 0
    mean = step.null[middle] @ there
    deviation = np.sqrt(draws * Q0 * (1 - Q0))
    assert mean == pytest.approx(start + draws * Q0, abs=1e-9 * deviation)
    assert step.null[middle] @ (there - mean) ** 2 == pytest.approx(deviation**2, rel=near)
    close = (PRIOR.z > 0.5) & (PRIOR.z < 1.5)
    weights = views[0].posterior[middle] if before else PRIOR.weights
    if weights[close].sum() > 1 - 1e-9:
        assert step.ahead[middle] @ there == pytest.approx(start + draws * (weights @ ndtr(-PRIOR.z)), rel=1e-3)


def test_tails_are_exact_where_misses_are_few_and_near_where_they_are_many():
    x = np.arange(-3, 60)[None]
    for n, q in ((50, 0.3), (400, 0.05), (1, 0.5)):
        assert _cdf(x, n, np.array([[q]]), 5.0)[0] == pytest.approx(binom.cdf(x[0], n, q), abs=1e-13)
    x = np.arange(3000)[None]
    found = _cdf(x, 2000, np.array([[0.4]]), 0.0)[0]
    assert np.abs(found - binom.cdf(x[0], 2000, 0.4)).max() < 2e-3 and (found[2000:] == 1).all()
    narrow = np.diff(_cdf(x, 2000, np.array([[0.4]]), 200.0)[0])
    centre = narrow @ x[0, 1:]
    assert centre == pytest.approx(800, abs=0.1) and narrow @ (x[0, 1:] - centre) ** 2 == pytest.approx(280, rel=0.01)
