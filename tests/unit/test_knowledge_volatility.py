"""Volatility and the ball score: golden values, closed forms, an obvious implementation, invariances, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma
from scipy.stats import linregress, ortho_group

from certflow import knowledge
from certflow.knowledge import distances
from certflow.knowledge.losses import LOSSES

GOLDEN = [[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], [0.0, 1.0, 3.0]
NORMS = {
    "l1": lambda x: np.abs(x).sum(),
    "l2": lambda x: math.sqrt((x * x).sum()),
    "linf": lambda x: np.abs(x).max(),
}


def sample(n=40, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)), rng.gamma(1.0, size=n)


@pytest.mark.parametrize(
    ("distance", "stabiliser", "value"),
    [
        ("l2", 0.0, 1.2238015069303438), ("l2", 0.01, 1.2133979501805883), ("linf", 0.0, 1.3055555555555556),
        ("linf", 0.01, 1.2947084718496622), ("l1", 0.0, 1.1587301587301588),
    ],
)  # fmt: skip
def test_golden_values(distance, stabiliser, value):
    assert knowledge.volatility(*GOLDEN, distance, stabiliser).value == pytest.approx(value, rel=1e-14)


def test_golden_values_of_each_point():
    found = knowledge.volatility(*GOLDEN)
    assert found.per_point == pytest.approx([1.6, 0.3357022603955159, 1.735702260395516], rel=1e-14)
    assert found.per_point.sum() * 2 == pytest.approx(7.342809041582064, rel=1e-14)
    assert found.standard_error == pytest.approx(2 * np.std(found.per_point, ddof=1) / math.sqrt(3), rel=1e-14)
    assert found.mean_distance == pytest.approx((5 + 1 + math.sqrt(18)) / 3) and found.max_distance == 5
    assert found.zero_pairs == 0 and "2 coordinates" in found.remarks[0]


@pytest.mark.parametrize("distance", ["l1", "l2", "linf"])
@pytest.mark.parametrize(("stabiliser", "floor"), [(0.0, 0.0), (0.01, 0.0), (0.0, 2.5), (0.01, 2.5)])
def test_it_is_what_two_loops_give(distance, stabiliser, floor, monkeypatch):
    monkeypatch.setattr("certflow.knowledge.pairs.BLOCK", 16)
    z, losses = sample()
    slow = np.zeros(40)
    for i in range(40):
        for j in range(40):
            if i != j:
                d = NORMS[distance](z[i] - z[j])
                slow[i] += abs(losses[i] - losses[j]) / (max(d, floor) + stabiliser) / 39
    found = knowledge.volatility(z, losses, distance, stabiliser, floor=floor)
    assert np.abs(found.per_point - slow).max() < 1e-12 and abs(found.value - slow.mean()) < 1e-12


def test_distances_by_matrix_products_are_those_by_differences():
    """Far from the origin and with near and equal points, where the product form alone would have lost them."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(60, 200)) + 30
    z[1], z[2] = z[0], z[0] + 1e-7
    found, slow = distances.euclidean(z, z), np.linalg.norm(z[:, None] - z, axis=2)
    assert found[0, 1] == 0 and np.abs(found - slow).max() < 1e-9 * slow.max()
    centred = distances.euclidean(*[distances.centred(z)] * 2)
    assert np.allclose(centred, slow, rtol=1e-10, atol=1e-12)


def test_cosine_is_one_minus_the_cosine_and_refuses_zero():
    z, losses = sample()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    np.fill_diagonal(apart, 1)
    slow = (np.abs(losses[:, None] - losses) / apart).sum(1) / 39
    assert knowledge.volatility(z, losses, "cosine").per_point == pytest.approx(slow, rel=1e-10)
    with pytest.raises(ValueError, match="row 3 is zero"):
        knowledge.volatility(np.where(np.arange(40)[:, None] == 3, 0, z), losses, "cosine")


def test_every_distance_of_pairs_is_that_of_its_blocks():
    z, losses = sample(20, 30)
    for name in knowledge.DISTANCES:
        points = __import__("certflow.knowledge.pairs", fromlist=["points"]).points(z, losses, name)
        whole = points.distance.between(points.z, points.z)
        first, second = np.arange(10), np.arange(10, 20)
        assert points.between(first, second)[0] == pytest.approx(whole[first, second], rel=1e-9)


# ---- closed forms


@pytest.mark.parametrize("scale", [0.5, -4.0])
def test_a_loss_that_is_linear_in_a_scalar_has_its_slope_at_every_point(scale):
    x = np.random.default_rng(0).normal(size=50)
    assert knowledge.volatility(scale * x, 3 * x).per_point == pytest.approx(3 / abs(scale), rel=1e-9)


@pytest.mark.parametrize(("dim", "value"), [(2, 0.636620), (3, 0.5), (10, 0.258690), (64, 0.100126)])
def test_linear_loss_of_gaussian_points(dim, value):
    z = np.random.default_rng(dim).normal(size=(1500, dim))
    found = knowledge.volatility(z, z[:, 0])
    assert value == pytest.approx(gamma(dim / 2) / (math.sqrt(math.pi) * gamma((dim + 1) / 2)), abs=1e-6)
    assert abs(found.value - value) < 4 * found.standard_error < 0.1 * value
    assert knowledge.volatility(z[:200], z[:200, 0]).per_point.max() <= 1, "no ratio exceeds the Lipschitz constant"


@pytest.mark.parametrize(("dim", "value"), [(3, 0.180541), (10, 0.0775449), (64, 0.0286212)])
def test_errors_independent_of_gaussian_points(dim, value):
    """2a(1 − a)·E[1/d] at accuracy a = 0.8."""
    rng = np.random.default_rng(dim)
    found = knowledge.volatility(rng.normal(size=(2000, dim)), (rng.random(2000) < 0.2).astype(float))
    assert value == pytest.approx(0.32 * gamma((dim - 1) / 2) / (2 * gamma(dim / 2)), rel=1e-5)
    assert abs(found.value - value) < 4 * found.standard_error


def test_a_step_on_the_line():
    z = np.random.default_rng(0).random(4000)
    assert knowledge.volatility(z, z > 0.5).value == pytest.approx(2 * math.log(2), rel=0.1)


@pytest.mark.parametrize(("jitter", "factor"), [(1e-6, 2 * 0.9 * 0.1), (0.0, 1.0)])
def test_two_clusters(jitter, factor):
    """Of n points a·n are right. With coinciding points the pairs inside a cluster drop out of the mean."""
    rng, wrong = np.random.default_rng(0), np.arange(500) >= 450
    z = 7.0 * wrong[:, None] * [1, 0, 0] + 7 * jitter * rng.normal(size=(500, 3))
    found = knowledge.volatility(z, wrong)
    assert found.value == pytest.approx(factor / 7 * (500 / 499 if jitter else 1), rel=1e-5)
    assert found.zero_pairs == (0 if jitter else 450 * 449 // 2 + 50 * 49 // 2) and found.infinite_pairs == 0


def test_the_standard_error_is_that_of_fresh_samples():
    values, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = knowledge.volatility(rng.normal(size=(60, 6)), rng.gamma(1.0, size=60))
        values.append(found.value)
        errors.append(found.standard_error)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.15)


def test_the_error_in_units_of_the_samples_own_mean_distance_counts_the_unit_too():
    """Where losses grow with the distance from the middle, samples with larger distances have larger values, and an error that
    took the unit for known would be a fifth too small."""
    values, errors, known = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(60, 6)) * rng.gamma(2.0, size=(60, 1))
        losses = rng.gamma(1.0, size=60) + np.linalg.norm(z, axis=1) / 2
        found = knowledge.volatility(z, losses, unit=knowledge.volatility(z, losses).mean_distance)
        values.append(found.value)
        errors.append(found.error_in_units())
        known.append(found.standard_error)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.12) and np.mean(known) < 0.88 * np.std(values)
    assert found.distances.mean() == pytest.approx(found.mean_distance) and len(found.distances) == 60


# ---- invariances


def test_invariances():
    z, losses = sample(60, 6)
    base = knowledge.volatility(z, losses)
    turn, order = ortho_group.rvs(6, random_state=0), np.random.default_rng(1).permutation(60)
    assert knowledge.volatility(z @ turn + 5, losses).value == pytest.approx(base.value, rel=1e-9)
    assert knowledge.volatility(z[order], losses[order]).per_point == pytest.approx(base.per_point[order], rel=1e-12)
    assert knowledge.volatility(3 * z, 5 * losses + 2).value == pytest.approx(5 / 3 * base.value, rel=1e-12)
    assert knowledge.volatility(z, np.full(60, 1.5)).value == 0


@pytest.mark.parametrize("stabiliser", [0.0, 0.1])
def test_in_units_of_the_mean_distance_scale_does_not_matter(stabiliser):
    z, losses = sample(60, 6)
    found = []
    for scale in (1.0, 40.0):
        unit = knowledge.volatility(scale * z, losses).mean_distance
        found.append(knowledge.volatility(scale * z, losses, "l2", stabiliser, unit=unit).value)
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert knowledge.volatility(z, losses).value * knowledge.volatility(z, losses).mean_distance == pytest.approx(
        knowledge.volatility(z, losses, unit=knowledge.volatility(z, losses).mean_distance).value, rel=1e-12
    )


def test_a_lipschitz_layer_bounds_what_lies_before_it():
    """R of a pair before max(Wz, 0) is at most ‖W‖₂ times R behind; singular values below bound it from the other side."""
    z, losses = sample(50, 8)
    w = np.random.default_rng(2).normal(size=(8, 8))
    behind = np.maximum(z @ w.T, 0)
    before = knowledge.volatility(z, losses).per_point
    assert (before <= np.linalg.norm(w, 2) * knowledge.volatility(behind, losses).per_point * (1 + 1e-9)).all()
    smallest = np.linalg.svd(w, compute_uv=False)[-1]
    assert knowledge.volatility(z @ w.T, z @ np.eye(8)[0]).value <= 1 / smallest


# ---- equal points, bad input


def test_equal_points_are_left_out_and_counted():
    z, losses = [[0.0, 0, 0], [0, 0, 0], [3, 4, 0], [0, 0, 0]], [0.0, 2.0, 1.0, 0.0]
    found = knowledge.volatility(z, losses)
    assert found.per_point == pytest.approx([0.2, 0.2, 0.2, 0.2])
    assert (found.zero_pairs, found.infinite_pairs) == (3, 2) and "2 pairs at distance 0" in found.remarks[-1]
    stable = knowledge.volatility(z, losses, stabiliser=0.5)
    assert stable.zero_pairs == 0 and stable.value == pytest.approx((2 / 0.5 * 2 + 3 / 5.5) / 6)


def test_two_points_say_nothing_of_their_spread():
    found = knowledge.volatility([0.0, 2.0], [0.0, 1.0])
    assert found.value == 0.5 and found.standard_error == math.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": [[1.0, 2, 3]], "losses": [1.0]}, "at least 2 points"),
        ({"z": [[1.0], [math.nan]], "losses": [1.0, 2]}, "z: point 1 is NaN"),
        ({"z": [[1.0], [2.0]], "losses": [1.0, math.inf]}, "losses: point 1"),
        ({"z": [[1.0], [1.0]], "losses": [1.0, 2]}, "all representations are equal"),
        ({"z": [[1.0], [2.0]], "losses": [1.0, 2, 3]}, r"must be \[n, dim\]"),
        ({"distance": "l3"}, "known: l1, l2, linf, cosine"),
        ({"stabiliser": -1.0}, "stabiliser: must not be negative"),
        ({"floor": math.inf}, "floor: must not be negative or infinite"),
        ({"unit": 0.0}, "unit: must be above 0"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        knowledge.volatility(**{"z": GOLDEN[0], "losses": GOLDEN[1], **changes})


# ---- the ball score


def loop_score(z, p, grid):
    d = np.linalg.norm(z[:, None] - z, axis=2)
    d /= d.max()
    radii = np.linspace(0, 1, grid)
    weights = np.abs(p[:, None] - p) / (1 + d)
    return 1000 * np.mean([(weights * (d < radius)).sum(1) / len(z) for radius in radii])


def test_golden_ball_score():
    p = [0.9, 0.2, 0.5]
    assert knowledge.discontinuity(GOLDEN[0], p) == pytest.approx(64.74109809534825, rel=1e-12)
    assert knowledge.ball_scores(GOLDEN[0], p, 500 / 999) == pytest.approx([1 / 9, 0, 1 / 9], rel=1e-12)


@given(st.integers(0, 10**6), st.integers(2, 60))
def test_the_closed_form_is_the_loop(seed, grid):
    rng = np.random.default_rng(seed)
    z, p = rng.normal(size=(30, 4)), rng.random(30)
    assert knowledge.discontinuity(z, p, grid) == pytest.approx(loop_score(z, p, grid), abs=1e-9)
    radius = rng.random()
    d = np.linalg.norm(z[:, None] - z, axis=2)
    inside = d / d.max() < radius
    slow = (np.abs(p[:, None] - p) / (1 + d / d.max()) * inside).mean(1)
    assert knowledge.ball_scores(z, p, radius) == pytest.approx(slow, abs=1e-12)


def test_published_regression_of_the_scores(shared):
    """Attack successes over the last layer's score: R² 0.3487, which seven models do not tell from chance (p 0.163)."""
    import pandas as pd

    table = pd.read_csv(shared("reference/kc_tables.csv"))
    success = table[(table.table == "text_attack_success") & (table.metric == "n_successful")]
    scores = table[table.table == "text_k0_score_by_depth"]
    last = scores.sort_values("x").groupby("model").value.last()
    fit = linregress(last[success.model].to_numpy(float), success.value.to_numpy(float))
    assert (fit.slope, fit.intercept) == (pytest.approx(49.00, abs=0.01), pytest.approx(2253.99, abs=0.02))
    assert fit.rvalue**2 == pytest.approx(0.3487, abs=1e-4) and fit.pvalue == pytest.approx(0.163, abs=1e-3)


def test_the_score_needs_two_radii_and_two_places():
    with pytest.raises(ValueError, match="at least 2"):
        knowledge.discontinuity(*GOLDEN, grid=1)
    with pytest.raises(ValueError, match="all representations are equal"):
        knowledge.discontinuity([[1.0], [1.0]], [0.1, 0.2])


# ---- losses


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_bounded_losses_are_as_wide_as_they_say(classes):
    logits = np.zeros((2, classes))
    logits[:, 0] = 1e4
    for name, loss in LOSSES.items():
        found = loss.of(logits, np.array([0, 1]))
        assert np.isfinite(found).all() and np.ptp(found) <= loss.width(classes) * (1 + 1e-12)
        assert name == "ce" or np.ptp(found) == pytest.approx(1, abs=1e-12)
    low = LOSSES["prob_ce"].of(logits, np.array([0, 1])).min()
    assert low == pytest.approx(math.log(1 + (classes - 1) / math.e), rel=1e-12)


def test_losses_are_what_they_say():
    logits, label = np.array([[1.0, 3.0, 3.0], [0.0, 0.0, 2.0]]), np.array([2, 2])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert LOSSES["prob"].of(logits, label) == pytest.approx(1 - p[:, 2])
    assert LOSSES["ce"].of(logits, label) == pytest.approx(-np.log(p[:, 2]))
    assert LOSSES["zero_one"].of(logits, label).tolist() == [1, 0], "of equal logits the first counts"
