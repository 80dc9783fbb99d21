"""Radii of Gaussian smoothing from counts: values, rounding direction, order and refusals."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certflow.certify import gaussian_radius, gaussian_radius_two_bound, radius
from certflow.certify.bounds import guarded
from certflow.certify.radii import one_bound_radius, radius_below, two_bound_radius, two_bounds_pay
from certflow.noise import Gaussian, GeneralizedGaussian, Laplace, Uniform
from certflow.stats import clopper_pearson_failure, clopper_pearson_lower

mpmath.mp.dps = 40
alphas = st.floats(1e-6, 0.45)


@st.composite
def counts(draw):
    n = draw(st.integers(1, 200_000))
    return draw(st.integers(0, n)), n


@given(counts(), alphas, st.floats(0.01, 10))
def test_equals_the_formula_and_abstains_at_one_half(kn, alpha, sigma):
    k, n = kn
    radius, p_lower = gaussian_radius(k, n, alpha, sigma)
    bound = clopper_pearson_lower(k, n, alpha)
    assert p_lower <= bound and p_lower == pytest.approx(bound, rel=1e-7, abs=1e-15)
    z = float(mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(float(bound)) - 1)) if 0 < bound < 1 else -1.0
    assert np.isfinite(radius) and radius >= 0
    assert (radius > 0) == (p_lower > 0.5)
    if z > 1e-6:
        assert radius <= sigma * z * (1 + 1e-13 + 1e-16 / (1 - bound))
        assert radius == pytest.approx(sigma * z, rel=1e-6, abs=2e-9 * sigma)


@given(counts(), alphas)
def test_grows_with_counts_and_alpha_and_scales_with_sigma(kn, alpha):
    k, n = kn
    radius, p_lower = gaussian_radius(k, n, alpha, 0.5)
    if k < n:
        more = gaussian_radius(k + 1, n, alpha, 0.5)
        assert more[0] >= radius and more[1] > p_lower
    assert gaussian_radius(k, n, min(alpha * 1.05, 0.499), 0.5)[0] >= radius
    np.testing.assert_allclose(gaussian_radius(k, n, alpha, 1.5)[0], 3 * radius, rtol=1e-14)
    np.testing.assert_array_equal(gaussian_radius([k, k], [n, n], alpha, 0.5)[0], [radius, radius])


def test_more_draws_at_the_same_frequency_certify_more():
    n = 10 * 2 ** np.arange(15)
    radius, p_lower = gaussian_radius(n * 9 // 10, n, 0.001, 1.0)
    assert (np.diff(radius) >= 0).all() and (p_lower < 0.9).all() and radius[0] == 0
    assert 1.265 < radius[-1] < 1.2815515655446004


@pytest.mark.parametrize("k, n", [(10, 10), (600, 1000), (9990, 10_000), (99_990, 100_000), (100_000, 100_000)])
def test_rounding_is_towards_less_certified(k, n):
    """In 40-digit arithmetic p_lower and the probability that belongs to the radius stay below alpha in the tail equation, and
    a radius larger by 1e-9 does not."""

    def tail(p) -> mpmath.mpf:
        return mpmath.betainc(k, n - k + 1, 0, p, regularized=True)

    radius, p_lower = (mpmath.mpf(float(value)) for value in gaussian_radius(k, n, 0.001, 1.0))
    alpha = mpmath.mpf(0.001)
    assert tail(p_lower) < alpha
    assert tail(mpmath.ncdf(radius)) < alpha < tail(mpmath.ncdf(radius + 1e-9))


def test_guard():
    assert guarded(0.001, 1000) == 0.001 * (1 - 1e-9)
    assert guarded(0.001, 10**7) == pytest.approx(0.001 * (1 - 1e-7), rel=1e-15)


@pytest.mark.parametrize(
    "a, b, one, two",
    [
        (60, 20, 0.241, 0.533),
        (45, 25, 0, 0.261),
        (70, 15, 0.512, 0.766),
        (99, 0.6, 2.290, 2.376),
        (80, 20, 0.828, 0.827),
    ],
)
def test_two_bounds_against_one(a, b, one, two):
    k, other = round(a * 1000), round(b * 1000)
    assert gaussian_radius(k, 100_000, 0.001, 1.0)[0] == pytest.approx(one, abs=5.1e-4)
    radius, p_lower, p_upper = gaussian_radius_two_bound(k, other, 100_000, 0.001, 1.0)
    assert radius == pytest.approx(two, abs=5.1e-4)
    assert p_lower > p_upper


@given(counts(), st.floats(0, 1), alphas)
def test_two_bound_form_is_the_theorem_with_half_levels(kn, share, alpha):
    k, n = kn
    other = int(share * (n - k))
    radius, p_lower, p_upper = gaussian_radius_two_bound(k, other, n, alpha, 2.0)
    assert p_lower == pytest.approx(clopper_pearson_lower(k, n, alpha / 2), rel=1e-7, abs=1e-15)
    upper = 1 - clopper_pearson_lower(n - other, n, alpha / 2)
    assert p_upper == pytest.approx(min(upper, 1 - p_lower), rel=1e-7, abs=1e-12)
    assert p_upper >= other / n and radius >= 0
    assert (radius > 0) == (p_lower > p_upper)
    if other > 0:
        assert gaussian_radius_two_bound(k, other - 1, n, alpha, 2.0)[0] >= radius
    if n - k == other:  # two classes: splitting alpha only loses
        assert radius <= gaussian_radius(k, n, alpha, 2.0)[0]


@pytest.mark.parametrize("alpha", [0, 0.5, 0.7, -0.1, float("nan"), "0.001", None])
def test_refuses_alpha(alpha):
    with pytest.raises(ValueError, match="alpha"):
        gaussian_radius(9, 10, alpha, 1.0)
    with pytest.raises(ValueError, match="alpha"):
        gaussian_radius_two_bound(9, 1, 10, alpha, 1.0)


@pytest.mark.parametrize("sigma", [0, -1.0, float("inf"), float("nan"), "0.5", True])
def test_refuses_sigma(sigma):
    with pytest.raises(ValueError, match="sigma"):
        gaussian_radius(9, 10, 0.01, sigma)


@pytest.mark.parametrize("k, n", [(11, 10), (-1, 10), (0, 0), (1.5, 10), (1, 10**9)])
def test_refuses_counts(k, n):
    with pytest.raises(ValueError, match="k|n"):
        gaussian_radius(k, n, 0.01, 1.0)


def test_refuses_two_classes_with_more_hits_than_draws():
    for k in (6, [5, 6]):
        with pytest.raises(ValueError, match="k_other"):
            gaussian_radius_two_bound(k, 5, 10, 0.01, 1.0)


@pytest.mark.parametrize("u", [0.0, 1.5, float("nan"), [0.5, 0.0]])
def test_refuses_variates(u):
    with pytest.raises(ValueError, match=r"^u: variates must lie in \(0, 1\]"):
        gaussian_radius(9, 10, 0.01, 1.0, u)
    with pytest.raises(ValueError, match="^u: variates"):
        gaussian_radius_two_bound(9, 1, 10, 0.01, 1.0, 0.5, u)
    with pytest.raises(ValueError, match="^u, u_other: give both variates or none"):
        gaussian_radius_two_bound(9, 1, 10, 0.01, 1.0, u_other=u)


def test_a_bound_of_one_half_has_no_radius():
    """The failure is a bit below 1/2, its complement rounded down is 1/2."""
    radius, p_lower = radius_below(np.nextafter([0.5], 0), Gaussian(sigma=1.0), None)
    assert (radius[0], p_lower[0]) == (0, 0.5)


@given(counts(), alphas, st.sampled_from([1e-12, 1e-6, 0.01]))
def test_slack_is_given_away_by_every_bound(kn, alpha, slack):
    k, n = kn
    (radius, p_lower), (plain, bound) = (gaussian_radius(k, n, alpha, 0.5, slack=value) for value in (slack, 0.0))
    failure = clopper_pearson_failure(k, n, guarded(alpha, n))
    # In exact arithmetic: floats are binary fractions.
    assert Fraction(float(p_lower)) <= max(1 - Fraction(float(failure)) - Fraction(slack), 0)
    assert p_lower >= bound - slack - 3e-16 and 0 <= radius <= plain
    if radius > 0:
        assert radius == pytest.approx(
            0.5 * float(mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(float(p_lower)) - 1)), rel=1e-6
        )
    other = (n - k) // 2
    loose, tight = (gaussian_radius_two_bound(k, other, n, alpha, 0.5, slack=value) for value in (slack, 0.0))
    assert loose[0] <= tight[0] and loose[1] <= max(tight[1] - slack, 0) + 1e-16
    assert loose[2] >= min(tight[2] + slack, 1.0)


@pytest.mark.parametrize("slack", [-1e-9, 1.0, float("nan"), "0", True])
def test_impossible_slack_is_refused(slack):
    with pytest.raises(ValueError, match="slack: must lie in"):
        gaussian_radius(90, 100, 0.001, 0.5, slack=slack)


@pytest.mark.parametrize(
    "noise", [Gaussian(sigma=0.5), Laplace(sigma=0.5), Uniform(sigma=0.5)], ids=lambda law: law.kind
)
def test_the_form_chosen_beforehand_is_the_one_with_the_larger_radius_under_its_law(noise):
    norm = "l2" if noise.kind == "gaussian" else "l1"
    k, k_other, n = np.array([600, 450, 800, 990, 700]), np.array([200, 250, 200, 6, 150]), 1000
    one = one_bound_radius(k, n, 0.001, noise, 64, norm=norm)[0]
    two = two_bound_radius(k, k_other, n, 0.001, noise, 64, norm=norm)[0]
    assert 0 < (two > one).sum() < len(k)
    assert (two_bounds_pay(k, k_other, 1000, n, 0.001, noise, 64, norm) == (two > one)).all()


def test_a_form_is_chosen_under_laws_that_have_both():
    with pytest.raises(ValueError, match="no l2 radius from two bounds"):
        two_bounds_pay(60, 20, 100, 1000, 0.001, GeneralizedGaussian(k=4, sigma=0.5), 64)


@pytest.mark.parametrize("dim", [0, -3, 3072.0, True, "64"])
@pytest.mark.parametrize(
    ("noise", "norm"), [(Uniform(sigma=0.5), "linf"), (Laplace(sigma=0.5), "linf"), (Gaussian(sigma=0.5), "l2")]
)
def test_a_radius_is_of_images_that_can_be(noise, norm, dim):
    """Left alone, some formulas give NaN or numbers for them, beyond every true radius."""
    with pytest.raises(ValueError, match="dim: must be the number of coordinates"):
        radius(noise, norm, [0.0, 0.9, 1.0], dim)


@pytest.mark.parametrize("p_lower", ["0.9", True, None, [0.9, "1"], 0.9j, float("nan"), -0.1, 1.1])
def test_a_probability_is_a_number_from_0_to_1(p_lower):
    with pytest.raises(ValueError, match="p_lower: must be probabilities from 0 to 1"):
        radius(Gaussian(sigma=0.5), "l2", p_lower)


def test_a_radius_needs_a_noise():
    with pytest.raises(TypeError, match="noise: must be a noise such as"):
        radius("gaussian", "l2", 0.9)
