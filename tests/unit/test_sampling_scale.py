"""Planners weigh draws by the radii of the noise and norm at hand; the Gaussian's own formulas are a special case."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from certflow.kinds.registry import spec_class
from certflow.noise import radii
from certflow.noise.kinds.gaussian import Gaussian
from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian
from certflow.noise.kinds.laplace import Laplace
from certflow.noise.kinds.uniform import Uniform
from certflow.noise.radii import Shift
from certflow.sampling.planning.scale import Scale, scale_of
from certflow.sampling.planning.selection import equivalent_count
from certflow.sampling.planning.tolerance import draws_for
from certflow.sampling.planning.utility import failure_grid, utility
from certflow.stats import clopper_pearson_failure

Planned, Iss = spec_class("sampler", "planned"), spec_class("sampler", "iss")
DIM = 64
NOISY = GeneralizedGaussian(k=20, sigma=0.5)
FAILURE = np.array([0.0, 1e-9, 1e-3, 0.2, 0.5, 0.7, 0.999])


def uniform_radius(failure, noise, dim):
    """The l1 radius of uniform noise on [-lambda, lambda]: 2 lambda (1/2 - failure), lambda = sqrt(3) sigma."""
    return np.maximum(2 * np.sqrt(3) * noise.sigma * (0.5 - failure), 0.0)


def uniform_two(failure, other, noise, dim):
    return np.maximum(np.sqrt(3) * noise.sigma * (1 - failure - other), 0.0)


@pytest.fixture
def linear(monkeypatch):
    """A noise whose l1 radius is linear in the failure, as that of uniform noise, though it is called gaussian here."""
    monkeypatch.setattr(radii, "norms_of", lambda kind: {"l1": Shift(uniform_radius, uniform_two)})
    return Gaussian(sigma=0.5)


def test_the_gaussian_scale_is_the_normal_quantile_of_every_level():
    scale = scale_of(Gaussian(sigma=0.25), "l2", 784)
    assert scale == scale_of(Gaussian(sigma=1.0), "l2", None) and hash(scale) == hash(
        scale_of(Gaussian(sigma=1.0), "l2", 3)
    )
    assert np.array_equal(scale.radius(FAILURE), -special.ndtri(FAILURE))


def test_other_scales_are_the_certified_radius_over_sigma_continued_below_zero():
    scale = scale_of(NOISY, "l2", DIM)
    certified = radii.shift_of(NOISY, "l2").radius(FAILURE[:5], NOISY, DIM) / 0.5
    assert scale.radius(FAILURE)[:5] == pytest.approx(certified, abs=1e-15)
    assert scale.radius(FAILURE[5:]) == pytest.approx(-scale.radius(1 - FAILURE[5:]), abs=1e-15)
    assert scale != scale_of(GeneralizedGaussian(k=20, sigma=1.0), "l2", DIM) and hash(scale)
    with pytest.raises(ValueError, match="no l1 radius is known under noise of kind gaussian"):
        scale_of(Gaussian(sigma=1.0), "l1", DIM)


def test_worth_of_draws_is_its_expectation_under_another_noise():
    scale = scale_of(NOISY, "l2", DIM)
    n, worth = utility(200, 2000, 100, 0.001, 0.0, scale)
    q, _ = failure_grid()
    for row in (1, 10, len(n) - 1):
        misses = np.arange(n[row] + 1)
        failure = clopper_pearson_failure(n[row] - misses, n[row], 0.001)
        radius = radii.shift_of(NOISY, "l2").radius(failure, NOISY, DIM) / 0.5
        for column in range(0, len(q), 30):
            exact = (stats.binom.pmf(misses, n[row], q[column]) * radius).sum()
            assert worth[row, column] == pytest.approx(exact, abs=2e-5)


def test_fewest_draws_by_a_full_scan_under_a_linear_radius(linear):
    p, steps = np.array([0.55, 0.7, 0.9, 0.99, 1.0]), np.arange(1, 101) * 100
    found = draws_for(p, 0.1, "absolute", scale_of(linear, "l1", None), n_max=10_000, granularity=100, alpha=0.001)
    hits = steps[:, None] * p
    bound = special.betaincinv(hits, steps[:, None] - hits + 1, 0.001)
    bound = np.where(p == 1, 0.001 ** (1 / steps[:, None]), bound)
    radius = 2 * np.sqrt(3) * (bound - 0.5)
    scan = np.where(radius[-1] > 0.1, steps[np.argmax(radius >= radius[-1] - 0.1, axis=0)], 0)
    assert found.tolist() == scan.tolist()


def test_plans_follow_the_law(linear):
    """Linear radii gain nothing special near p = 1: the planner gives saturated images less than it does under a Gaussian."""
    counts = np.array([[500, 0, 0], [450, 30, 20], [300, 150, 50], [200, 200, 100]])
    share = Planned(price=1e-5, norm="l1").plan(counts, linear)["n"]
    assert share[0] < share[2]
    assert Iss(n0=500, tolerance=0.05, norm="l1").plan(counts, linear)["n"][0] < 10_000
    auto = Planned(price=1e-5, norm="l1", bound_form="auto").plan(counts, linear)["n"]
    assert auto[3] >= share[3]


def old_equivalent_count(k0, other, n0):
    """The Gaussian formula written out: the share whose quantile is half the distance of the two shares' quantiles."""
    return np.floor(n0 * special.ndtr((special.ndtri(k0 / n0) - special.ndtri(other / n0)) / 2) + 1e-9).astype(np.int64)


@pytest.mark.parametrize("n0", [1, 10, 100, 500])
@pytest.mark.parametrize("sigma", [0.12, 1.0])
def test_two_bounds_are_worth_what_the_gaussian_formula_says(n0, sigma):
    pairs = np.array([(k0, other) for k0 in range(1, n0 + 1) for other in range(0, min(k0, n0 - k0) + 1)])
    k0, other = pairs.T
    rest = n0 - k0 - other
    counts = np.stack([k0, other, np.minimum(rest, other), rest - np.minimum(rest, other)], axis=1)
    counts = counts[counts[:, 3] <= other]
    k0, other = counts[:, 0], counts[:, 1]
    found = equivalent_count(counts, np.zeros(len(counts), np.int64), n0, Gaussian(sigma=sigma), "l2", None)
    assert np.array_equal(found, old_equivalent_count(k0, other, n0))


def test_an_image_whose_first_draws_all_agree_counts_all_of_them():
    """Under noise whose radius has no limit, too."""
    for noise, norm in ((Gaussian(sigma=0.5), "l2"), (Laplace(sigma=0.5), "l1"), (Uniform(sigma=0.5), "l1")):
        counts, first = np.array([[100, 0, 0], [90, 5, 5]]), np.zeros(2, np.int64)
        assert equivalent_count(counts, first, 100, noise, norm, DIM).tolist()[0] == 100


def test_what_cannot_be_planned_for_is_refused_with_the_reason():
    gauss, noisy = Gaussian(sigma=0.5), NOISY
    assert Planned(budget=1000.0).noise_problems(noisy, DIM) == [] == Iss(tolerance=0.1).noise_problems(noisy, DIM)
    for sampler in (Planned(budget=1000.0, norm="l1"), Iss(tolerance=0.1, norm="l1")):
        (line,) = sampler.noise_problems(gauss, DIM)
        assert line.startswith("norm: no l1 radius is known under noise of kind gaussian; known:")
    (form,) = Planned(budget=1000.0, bound_form="auto").noise_problems(noisy, DIM)
    assert form == "bound_form: no l2 radius from two bounds is known for noise of kind generalized_gaussian; use `one`"
    with pytest.raises(ValueError, match="no l2 radius from two bounds"):
        equivalent_count(np.array([[3, 2]]), np.array([0]), 5, noisy, "l2", DIM)


def test_the_tolerance_is_compared_with_the_largest_radius_of_the_law():
    scale = scale_of(NOISY, "l2", DIM)
    largest = 0.5 * float(scale.radius(np.asarray(1 - 0.001 ** (1 / 2000))))
    sampler = Iss(n0=50, tolerance=1.0001 * largest, n_max=2000)
    assert sampler.noise_problems(Gaussian(sigma=0.5), DIM) == []  # whose radius is larger
    (line,) = sampler.noise_problems(NOISY, DIM)
    assert f"is not below the largest radius {largest:.4g}" in line
    (small,) = sampler.noise_problems(GeneralizedGaussian(k=1, sigma=0.5), 6)
    assert "8 coordinates or more, got 6" in small


def test_a_plan_of_the_gaussian_does_not_depend_on_the_number_of_coordinates():
    counts = np.array([[50, 0], [40, 10]])
    one, other = (Planned(n0=50, price=1e-5).plan(counts, Gaussian(sigma=0.5), dim)["n"] for dim in (None, 3072))
    assert np.array_equal(one, other)
    assert replace(Scale(NOISY, "l2", DIM), dim=8) != Scale(NOISY, "l2", DIM)
