"""The law of a probability over images, from few draws of each."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import ndtr, softmax
from scipy.stats import binom

from certflow.stats.deconvolution import (
    CURVES,
    GRID,
    Observed,
    coefficients,
    curves,
    degrees_for,
    density,
    law_of,
    npmle,
    observed,
    smooth,
    splines,
)


def drawn(images: int = 4000, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """(probits, hits) of images around 1.2."""
    rng = np.random.default_rng(4)
    z = rng.normal(1.2, 0.8, images)
    return z, rng.binomial(n, ndtr(z))


def splined(data: Observed) -> np.ndarray:
    return density(coefficients(data))


def bent(data: Observed) -> np.ndarray:
    return smooth(data, 1000.0)


def combined(data: Observed) -> np.ndarray:
    return law_of(data).weights


def stepped(data: Observed) -> np.ndarray:
    return npmle(data, 200)


@pytest.mark.parametrize("fit", [stepped, splined, bent, combined])
def test_shares_below_any_value_come_back(fit):
    z, k = drawn()
    weights = fit(observed(k, np.full(len(k), 150)))
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for at in (0.0, 0.75, 1.5, 2.0):
        assert weights[at >= GRID].sum() == pytest.approx((z <= at).mean(), abs=0.03)


def test_each_step_of_em_raises_the_likelihood():
    _, k = drawn(300)
    data = observed(k, np.full(300, 150))
    likelihood = [data.images @ np.log(data.likelihood @ npmle(data, steps)) for steps in (1, 2, 5, 20, 100)]
    assert (np.diff(likelihood) > 0).all()


def test_draws_that_were_not_made_say_nothing():
    data = observed(np.zeros(5, int), np.zeros(5, int))
    assert npmle(data, 5) == pytest.approx(np.full(len(GRID), 1 / len(GRID)))
    assert np.ptp(splined(data)) < 1e-6 and np.ptp(bent(data)) < 1e-6


def test_images_in_another_order_and_split_patterns_give_the_same():
    _, k = drawn(200)
    n = np.full(200, 150)
    assert npmle(observed(k, n), 200) == pytest.approx(npmle(observed(k[::-1], n), 200), abs=1e-12)
    data = observed(k, n)
    assert data.images.sum() == 200 and np.array_equal(np.bincount(data.pattern), data.images)


def test_splines_are_orthonormal_and_without_a_constant():
    for degrees in (2, 8, 20):
        basis = splines(degrees)
        assert basis.T @ basis / len(GRID) == pytest.approx(np.eye(degrees), abs=1e-9)
        assert basis.sum(axis=0) == pytest.approx(np.zeros(degrees), abs=1e-7)


def test_more_images_bear_more_splines():
    assert [degrees_for(images) for images in (1, 100, 500, 5000, 10_000, 50_000, 10**6)] == [2, 5, 8, 14, 17, 20, 20]
    for images in (30, 500):
        _, k = drawn(images)
        assert len(coefficients(observed(k, np.full(images, 150)))) == degrees_for(images)


def test_the_fit_is_a_maximum():
    _, k = drawn(500)
    data = observed(k, np.full(500, 150))
    basis, best = splines(8), coefficients(data)

    def loss(beta):
        return -data.images @ np.log(data.likelihood @ softmax(basis @ beta)) + np.linalg.norm(beta)

    rng = np.random.default_rng(0)
    assert all(loss(best) <= loss(best + 0.05 * rng.normal(size=8)) for _ in range(20))


def test_the_first_step_gives_the_mean_of_all_images_posteriors():
    _, k = drawn(300)
    data = observed(k, np.full(300, 150))
    before = law_of(data, steps=0).weights
    posteriors = data.likelihood * before / (data.likelihood @ before)[:, None]
    assert law_of(data, steps=1).weights == pytest.approx(posteriors[data.pattern].mean(axis=0), abs=1e-12)
    assert np.array_equal(law_of(data).weights, law_of(data, steps=3).weights), (
        "three steps unless others are asked for"
    )


def test_influences_go_through_the_steps_as_derivatives_do():
    """Against the same steps from weights and shares that were moved a little."""
    _, k = drawn(400)
    data = observed(k, np.full(400, 150))
    start, found = law_of(data, steps=0), law_of(data, steps=4)
    for pattern in (5, len(data.images) // 2, -5):
        ends = []
        for move in (1e-6, -1e-6):
            weights, shares = start.weights + move * start.influence[pattern], data.images / 400
            shares[pattern] += move
            for _ in range(4):
                weights = weights * ((shares / (data.likelihood @ weights)) @ data.likelihood)
            ends.append(weights)
        assert found.influence[pattern] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_the_error_is_what_other_samples_of_images_show():
    found, errors = [], []
    values = (GRID > 1.0).astype(float)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        k = rng.binomial(100, ndtr(rng.normal(1.0, 1.0, 300)))
        mean, error = law_of(observed(k, np.full(300, 100))).mean(values)
        found.append(mean)
        errors.append(error)
    # The deviation of 60 numbers is known to 9 %.
    assert np.mean(errors) == pytest.approx(np.std(found, ddof=1), rel=0.3)


def test_likelihoods_are_binomial_and_at_most_1():
    k, n = np.array([3, 0, 7, 3, 0]), np.array([10, 5, 7, 10, 0])
    data = observed(k, n)
    assert data.likelihood.shape == (4, len(GRID)) and data.images.tolist() == [1, 1, 2, 1]
    assert data.likelihood.max(axis=1) == pytest.approx(np.ones(4))
    for image in range(5):
        wanted = binom.pmf(k[image], n[image], ndtr(GRID))
        assert data.likelihood[data.pattern[image]] == pytest.approx(wanted / wanted.max(), abs=1e-12)


def test_the_basis_spans_the_natural_splines_of_scipy():
    assert GRID[0] == -3 and GRID[-1] == 5 and len(GRID) == 241
    for degrees in (2, 5, 14):
        knots = np.linspace(GRID[0], GRID[-1], degrees + 1)
        natural = CubicSpline(knots, np.eye(degrees + 1), bc_type="natural")(GRID)
        basis = splines(degrees)
        assert basis.shape == (241, degrees)
        assert natural @ np.linalg.lstsq(natural, basis)[0] == pytest.approx(basis, abs=1e-9)


def test_the_gradient_that_the_fit_follows_vanishes_at_its_maximum():
    _, k = drawn(200)
    data = observed(k, np.full(200, 150))
    best = coefficients(data)

    def loss(beta):
        return -data.images @ np.log(data.likelihood @ density(beta)) + np.linalg.norm(beta)

    for direction in np.eye(len(best)):
        slope = (loss(best + 1e-4 * direction) - loss(best - 1e-4 * direction)) / 2e-4
        assert abs(slope) < 0.02 * 200**0.5


def test_moving_an_image_moves_the_fit_as_its_influence_says():
    """Of the g-model, whose second derivatives are taken as squares of scores: near, where many images are."""
    _, k = drawn(3000, 60)
    data = observed(k, np.full(3000, 60))
    found = law_of(data, steps=0)
    centre = found.influence - (data.images @ found.influence) / data.images.sum()
    values = (GRID > 1.0).astype(float)
    for pattern in (len(data.images) // 3, len(data.images) // 2):
        images = data.images.copy()
        images[pattern] += 30
        moved = density(coefficients(Observed(data.likelihood, images, data.pattern)))
        wanted = (moved - found.weights) @ values
        assert 30 / 3030 * centre[pattern] @ values == pytest.approx(wanted, rel=0.25, abs=2e-4)


def test_the_error_of_a_mean_is_the_deviation_of_what_images_contribute():
    """Image by image; so many images of one pattern count as often."""
    _, k = drawn(150)
    law = law_of(observed(k, np.full(150, 150)))
    values = np.column_stack([GRID > 0.5, GRID])
    mean, error = law.mean(values.astype(float))
    each = np.repeat(law.influence @ values, law.images.astype(int), axis=0)
    assert mean == pytest.approx(law.weights @ values) and len(each) == 150
    assert error == pytest.approx(each.std(axis=0) / np.sqrt(150), rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [([5], [4]), ([], []), ([1, 5], [2, 4])])
def test_counts_that_are_no_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="0 <= k <= n"):
        observed(k, n)


@pytest.mark.parametrize(
    ("k", "n", "wrong"),
    [([-1], [4], "k"), ([-1, 2], [2, 4], "k"), ([np.nan, 3], [4, 4], "k"), ([1.5], [3], "k"), ([1], [10**9], "n")],
)
def test_counts_that_are_not_whole_are_refused_by_name(k, n, wrong):
    with pytest.raises(ValueError, match=f"{wrong}: must be a whole number from 0"):
        observed(k, n)


def roughness(log: np.ndarray) -> float:
    """Mean square of third derivatives."""
    return float(np.sum(np.square(np.diff(log, n=3) / (GRID[1] - GRID[0]) ** 3))) / len(GRID)


def test_curves_are_penalised_by_the_mean_square_of_their_third_derivatives():
    basis, rng = curves(30.0), np.random.default_rng(0)
    assert basis.shape == (len(GRID), 2 + CURVES) and basis.sum(axis=0) == pytest.approx(np.zeros(2 + CURVES), abs=1e-6)
    for c in rng.normal(size=(5, 2 + CURVES)):
        assert 30.0 * roughness(basis[:, 2:] @ c[2:]) == pytest.approx(c[2:] @ c[2:], rel=1e-6)
        assert roughness(basis[:, :2] @ c[:2]) < 1e-6, "line and parabola"
    assert np.linalg.norm(basis[:, :2], axis=0) == pytest.approx(1000 * np.sqrt(len(GRID) / 30.0)), (
        "as if they turned by 0.001"
    )
    assert np.abs(curves(120.0)) == pytest.approx(np.abs(basis) / 2), "four times the penalty for the same curve"


def test_the_smooth_fit_is_a_maximum_and_bends_less_the_stiffer():
    _, k = drawn(500)
    data, basis = observed(k, np.full(500, 150)), curves(30.0)
    best = np.log(smooth(data, 30.0))

    def loss(log):
        return 15.0 * roughness(log) - data.images @ np.log(data.likelihood @ softmax(log))

    rng = np.random.default_rng(0)
    assert all(loss(best) <= loss(best + 0.05 * basis @ rng.normal(size=2 + CURVES)) for _ in range(20))
    assert roughness(np.log(smooth(data, 1000.0))) < roughness(best)
