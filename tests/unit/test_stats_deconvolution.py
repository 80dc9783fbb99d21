"""The law of a probability over images, from few draws of each."""

import numpy as np
import pytest
from scipy.special import ndtr, softmax

from certflow.stats.deconvolution import GRID, coefficients, density, npmle, observed, smooth, splines


def drawn(images: int = 4000, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """(probits, hits) of images around 1.2."""
    rng = np.random.default_rng(4)
    z = rng.normal(1.2, 0.8, images)
    return z, rng.binomial(n, ndtr(z))


@pytest.mark.parametrize("fit", [npmle, smooth])
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
    assert npmle(data) == pytest.approx(np.full(len(GRID), 1 / len(GRID)))
    assert np.ptp(smooth(data)) < 1e-6


def test_images_in_another_order_and_split_patterns_give_the_same():
    _, k = drawn(200)
    n = np.full(200, 150)
    assert npmle(observed(k, n)) == pytest.approx(npmle(observed(k[::-1], n)), abs=1e-12)
    data = observed(k, n)
    assert data.images.sum() == 200 and np.array_equal(np.bincount(data.pattern), data.images)


def test_splines_are_orthonormal_and_without_a_constant():
    basis = splines(12)
    assert basis.T @ basis / len(GRID) == pytest.approx(np.eye(12), abs=1e-9)
    assert basis.sum(axis=0) == pytest.approx(np.zeros(12), abs=1e-7)


def test_the_fit_is_a_maximum():
    _, k = drawn(500)
    data = observed(k, np.full(500, 150))
    basis, best = splines(12), coefficients(data)

    def loss(beta):
        return -data.images @ np.log(data.likelihood @ softmax(basis @ beta)) + np.linalg.norm(beta)

    rng = np.random.default_rng(0)
    assert all(loss(best) <= loss(best + 0.05 * rng.normal(size=12)) for _ in range(20))
    assert density(best) == pytest.approx(smooth(data))


def test_counts_that_are_no_counts_are_refused():
    with pytest.raises(ValueError, match="0 <= k <= n"):
        observed([5], [4])
