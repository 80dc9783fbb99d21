"""The parts of the double sampling arithmetic against closed forms, SciPy's quadrature and simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special, stats

from certflow.certify import dsrs_radius
from certflow.certify.double_sampling import ratio as ratio_module
from certflow.certify.double_sampling.feasible import feasible_scaled, feasible_truncated, overlap
from certflow.certify.double_sampling.ratio import Ratio, crossing
from certflow.certify.double_sampling.scaled import NODES, ScaledDual, moments, polar_mass, shifted_mass
from certflow.certify.double_sampling.tracing import sure
from certflow.certify.double_sampling.truncated import TruncatedDual, mass, sides
from certflow.certify.double_sampling.truncated import shifted_mass as truncated_shifted_mass
from certflow.noise.radii.spherical.angle import angle_law
from certflow.noise.radii.spherical.growth import growth, growth_slope
from certflow.noise.radii.spherical.half_table import half_table, masses
from certflow.noise.radii.spherical.radial import radial_law
from certflow.noise.radii.spherical.stirling import log_step, remainder

LAWS = [(784, 380), (3072, 1530), (150528, 75260), (3072, 0), (56, 20)]


@pytest.mark.parametrize("a", [0.5, 4, 29.5, 30, 75264.5])
def test_stirling(a):
    import mpmath

    mpmath.mp.dps = 40
    exact = mpmath.loggamma(a) - ((mpmath.mpf(a) - 0.5) * mpmath.log(a) - a + mpmath.log(2 * mpmath.pi) / 2)
    assert remainder(a) == pytest.approx(float(exact), rel=1e-13, abs=3e-14)
    step = mpmath.loggamma(mpmath.mpf(a) + 0.5) - mpmath.loggamma(a)
    assert log_step(a, 0.5) == pytest.approx(float(step), rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("d", [8, 10, 784, 3072, 150528])
def test_angle_law(d):
    law = angle_law(d)
    y = np.random.default_rng(0).uniform(-1.2 * law.reach, 1.2 * law.reach, 4000)
    half = (d - 1) / 2
    exact = special.betainc(half, half, np.clip((1 + y / math.sqrt(d)) / 2, 0, 1))
    assert np.abs(law.cdf(y) - exact).max() < 1e-12
    inside = y[np.abs(y) < law.reach]
    assert np.abs(law.cdf(inside) - law.exact(inside)).max() <= law.error
    assert integrate.quad(law.density, -law.reach, law.reach, epsabs=1e-13)[0] == pytest.approx(1, abs=5e-11)
    value, slope = law.cdf_and_density(inside)
    np.testing.assert_array_equal(value, law.cdf(inside))
    np.testing.assert_allclose(slope, law.density(inside), atol=1e-9)


def test_angle_law_tends_to_the_normal_law():
    y = np.linspace(-5, 5, 101)
    assert np.abs(angle_law(150528).cdf(y) - special.ndtr(y)).max() < 2e-6


@pytest.mark.parametrize("k", [1, 3, 20, 380, 75260])
def test_growth(k):
    """Against Lambert's W: t + xi = k W((t/k) e^((t+L)/k))."""
    import mpmath

    mpmath.mp.dps = 40
    rng = np.random.default_rng(1)
    t, level = rng.gamma(5, size=60) + 1e-3, rng.normal(size=60) * rng.choice([0.01, 1, 6, 40], 60)
    alone = [growth(t[row : row + 1], level[row : row + 1], k)[0] for row in range(60)]
    np.testing.assert_allclose(alone, growth(t, level, k), rtol=1e-14)
    for x, one, drop in zip(growth(t, level, k), t, level, strict=True):
        one = mpmath.mpf(one)
        exact = k * mpmath.lambertw(one / k * mpmath.exp((one + drop) / k)).real - one
        assert abs((x - exact) / exact) < 1e-14


@pytest.mark.parametrize("share", [-0.09, 0.09])
def test_growth_over_a_small_share_takes_one_step(share, monkeypatch):
    """Of |L|/(t + k): the series that it starts from is right to the third order."""
    asked, log1p = [], np.log1p
    monkeypatch.setattr(np, "log1p", lambda z: asked.append(z) or log1p(z))
    for k in (1.0, 4.0, 400.0):
        growth(np.array([4.0]), np.array([share * (4 + k)]), k)
    assert len(asked) == 3


def test_growth_without_exponent_and_its_slope():
    t, level = np.array([1.0, 1.0, 2.0]), np.array([-3.0, 0.5, 1.0])
    np.testing.assert_array_equal(growth(t, level, 0), [-1, 0.5, 1])
    assert growth_slope(np.array([1.0, 1.0]), np.array([-1.0, -0.5]), 0).tolist() == [0, 1]
    for k in (0, 1, 5, 380):
        step = 1e-6
        numeric = (growth(t[1:], level[1:] + step, k) - growth(t[1:], level[1:] - step, k)) / (2 * step)
        np.testing.assert_allclose(growth_slope(t[1:], growth(t[1:], level[1:], k), k), numeric, rtol=1e-8)


@pytest.mark.parametrize("d, k", [*LAWS, (9, 4), (10, 4)])
def test_radial_density(d, k):
    law = radial_law(d, k)
    x = np.linspace(law.low, law.high, 301)[1:]
    exact = np.exp(stats.gamma.logpdf(x**2, law.a)) * 2 * x
    np.testing.assert_allclose(law.density(x), exact, rtol=1e-12 * max(10, law.a), atol=1e-300)


def test_radial_density_is_accurate_where_powers_are_not():
    import mpmath

    mpmath.mp.dps = 50
    law = radial_law(150528, 0)
    for x in (math.sqrt(law.a), law.low + 0.3 * (law.high - law.low), law.high):
        a, y = mpmath.mpf(law.a), mpmath.mpf(x)
        exact = mpmath.exp((2 * a - 1) * mpmath.log(y) - y * y - mpmath.loggamma(a) + mpmath.log(2))
        assert float(law.density(np.array([x]))[0] / exact) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("d", [10, 784, 150528])
def test_gaussian_masses_in_closed_form(d):
    r, level = np.array([0.05, 0.4, 1.0, 3.0]), np.array([0.01, -0.3, 1.5, 4.0])
    expected = special.ndtr(-(r / 2 + level / r))
    np.testing.assert_allclose(masses(d, 0, r, level, 64), expected, atol=1e-9 if d == 10 else 1e-12)


@pytest.mark.parametrize("d, k", [(784, 380), (150528, 75260)])
def test_half_table_against_adaptive_quadrature(d, k):
    """The defining equations at single radii, integrated by SciPy in t."""
    table, law = half_table(d, k), radial_law(d, k)

    def pm(level, rho):
        def integrand(t):
            y = (rho / 2 - growth(np.array([t]), np.array([-level]), k)[0] / rho) * math.sqrt(d / (2 * t))
            return stats.gamma.pdf(t, law.a) * special.betainc(
                (d - 1) / 2, (d - 1) / 2, min(max((1 + y / d**0.5) / 2, 0), 1)
            )

        edges = special.gammaincinv(law.a, [1e-15, 1e-6, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 1e-14])
        return sum(integrate.quad(integrand, *pair, epsabs=1e-13, limit=200)[0] for pair in pairwise(edges))

    for r in (0.3, 1.2):
        level = float(table.level(np.array([r]))[0])
        assert pm(-level, r * law.unit) == pytest.approx(0.5, abs=1e-9)
        found = table.radius(1 - np.array([pm(level, r * law.unit)]))[0]
        assert r - 2e-7 < found < r + 1e-8


def simulate(d: int, k: int, rho: float, count: int, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws of P: t, and t measured from the centre moved by -rho and by +rho along the same axis."""
    t = rng.gamma(d / 2 - k, size=count)
    cosine = 2 * rng.beta((d - 1) / 2, (d - 1) / 2, size=count) - 1
    shift = rho * np.sqrt(2 * t) * cosine
    return t, t + rho**2 / 2 - shift, t + rho**2 / 2 + shift


def log_ratio(new: np.ndarray, old: np.ndarray, k: int) -> np.ndarray:
    """log of the noise density at radial coordinate `old` over that at `new`."""
    return k * np.log(new / old) + new - old


def close(share: float, hits: np.ndarray) -> bool:
    """Is the share of hits within 4.5 standard deviations?"""
    return abs(hits.mean() - share) < 4.5 * math.sqrt(max(share * (1 - share), 1e-9) / len(hits))


@pytest.mark.parametrize("d, k", [(784, 380), (3072, 0), (56, 20)])
@pytest.mark.parametrize("level_in, level_out", [(1.0, -0.3), (-0.4, 0.8), (0.6, -np.inf)])
def test_truncated_masses_by_simulation(d, k, level_in, level_out):
    law, angle, r, share = radial_law(d, k), angle_law(d), 0.9, np.array([0.6])
    rho = np.array([r * law.unit])
    edge = np.sqrt(special.gammaincinv(law.a, share))
    t, back, ahead = simulate(d, k, float(rho[0]), 400_000, np.random.default_rng(3))
    for side, level, here in zip(
        sides(law, edge, share, 24), (level_in, level_out), (t <= edge**2, t > edge**2), strict=True
    ):
        if np.isfinite(level):
            found = mass(law, angle, side, rho, np.array([level]))[0][0]
            assert close(found, here & (-log_ratio(back, t, k) < level))
    levels = np.where(ahead <= edge**2, level_in, level_out)
    found = truncated_shifted_mass(law, angle, edge, rho, np.array([level_in]), np.array([level_out]), 24)[0]
    assert close(found, log_ratio(ahead, t, k) < levels)


@pytest.mark.parametrize("d, k", [(784, 380), (3072, 1530), (56, 20)])
@pytest.mark.parametrize(
    "b, m1, m2", [(1.25, 1.0, 0.7), (1.25, -0.6, 2.0), (1.25, 1.4, -0.3), (0.8, 0.6, 0.6), (1.1, 0.0, 1.0)]
)
def test_scaled_masses_by_simulation(d, k, b, m1, m2):
    law, angle, r = radial_law(d, k), angle_law(d), 0.9
    rho = np.array([r * law.unit])
    ratio = Ratio(law, *(np.array([v]) for v in (b, r * r / 2, m1, m2)))
    rng = np.random.default_rng(4)
    t, back, ahead = simulate(d, k, float(rho[0]), 400_000, rng)

    def inside(new, old):
        with np.errstate(invalid="ignore", divide="ignore"):
            return log_ratio(new, old, k) < np.log(ratio.m1 + ratio.m2 * ratio.tilt(new[None])[0]) + ratio.log_norm

    p, q = moments(angle, ratio, rho, 24)[:2, 0]
    assert close(p, inside(t, back))
    square = b * b
    t_q = rng.gamma(law.a, size=400_000) / square
    shifted = t_q + rho[0] ** 2 / 2 - rho[0] * np.sqrt(2 * t_q) * (2 * rng.beta((d - 1) / 2, (d - 1) / 2, 400_000) - 1)
    assert close(q * np.exp(ratio.log_kappa()[0]), inside(t_q, shifted))
    reached = shifted_mass(angle, ratio, rho, 24, 56)[0]
    assert close(reached, inside(ahead, t))
    assert reached == pytest.approx(polar_mass(angle, ratio, rho, 60, 120)[0], abs=2e-8)


@pytest.mark.parametrize("d, k", [(784, 380), (3072, 1530)])
def test_the_shifted_mass_is_integrated_up_to_where_it_ends(d, k):
    """With multipliers of opposite signs the worst set ends where h is 0: a step in x, which a panel must not hide."""
    law, angle = radial_law(d, k), angle_law(d)
    rho, zero = np.full(2, 2.0 * law.unit), special.gammaincinv(law.a, [0.7, 0.9])
    ratio = Ratio(law, np.full(2, 1.25), np.full(2, 2.0), -np.ones(2), np.ones(2))
    share = ratio.tilt(zero[:, None])[:, 0]
    ratio.m1, ratio.m2 = -share / (1 - share), 1 / (1 - share)
    np.testing.assert_allclose(ratio.zero(), zero, rtol=1e-12)
    coarse, fine = (shifted_mass(angle, ratio, rho, nodes, 1) for nodes in (NODES, 10 * NODES))
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-11)


def test_shifted_and_unshifted_mass_mirror_each_other():
    """Without a second law R(L) = 1 - P(-L)."""
    law, angle = radial_law(3072, 1530), angle_law(3072)
    r, level = np.array([0.3, 1.0, 2.0]), np.array([0.2, -0.5, 1.0])
    whole = np.full(3, 0.7)
    edge = np.sqrt(special.gammaincinv(law.a, whole))
    reached = truncated_shifted_mass(law, angle, edge, r * law.unit, level, level, 32)
    np.testing.assert_allclose(reached, masses(3072, 1530, r, -level, 64), atol=1e-9)


def duals() -> list:
    """One dual of either kind with the radius it is asked at."""
    one = [np.array([v]) for v in (0.90, 0.905)]
    law, angle = radial_law(3072, 1530), angle_law(3072)
    ball = TruncatedDual(law, angle, *one, np.array([0.97]), np.array([0.975]), np.array([0.5]), 0.0)
    scaled = ScaledDual(law, angle, *one, np.array([0.95]), np.array([0.955]), np.array([1.25]), 0.0)
    return [(ball, ("level_in", "level_out"), np.array([1.3])), (scaled, ("m1", "m2"), np.array([1.25]))]


@pytest.mark.parametrize(
    "gradient, curvature, length",
    [((1e-3, 1.0), (1.0, 1e-3), 3.0), ((1.0, 1e-3), (1e-3, 1.0), 3.0), ((0.3, -0.2), (1.0, 1.0), 0.5)],
)
def test_a_step_of_the_multipliers_is_at_most_twice_as_long_as_they_are(gradient, curvature, length):
    """Whichever of the two it is that moves, and the decrement is that along the step as it is taken."""
    (_, _, _), (dual, _, _) = duals()
    dual.m1, dual.m2 = np.array([1.0]), np.array([-0.5])
    now, nothing = np.array([*gradient, curvature[0], 0.0, curvature[1]])[:, None], np.zeros(1)
    step, fall = dual._direction(np.array([0]), now, nothing, nothing)
    whole = -np.array(gradient) / np.array(curvature)
    np.testing.assert_allclose(step[:, 0], whole * length / np.abs(whole).sum(), rtol=1e-9)
    assert fall == pytest.approx(-np.array(gradient) @ step[:, 0], rel=1e-9)


@pytest.mark.parametrize("dual, names, r", duals(), ids=["truncated", "scaled"])
def test_no_multipliers_beat_the_optimum(dual, names, r):
    """Weak duality: whatever the multipliers, D is no larger (here: within 1e-9 of) the maximum found."""
    row = np.array([0])
    dual.begin(r, half_table(3072, 1530).level(r))
    best = dual.bound(row, r)[0]
    found = [getattr(dual, name).copy() for name in names]
    rng = np.random.default_rng(6)
    values = []
    for _ in range(60):
        for name, value in zip(names, found, strict=True):
            setattr(dual, name, value + rng.normal(0, rng.choice([0.001, 0.03, 0.5]), 1))
        values.append(dual.finer(row, r, 1.5)[0])
    assert max(values) <= best + 1e-9
    assert min(values) < best - 1e-3


class Held(ScaledDual):
    """A dual at multipliers that are given, not sought."""

    def bound(self, rows, r):
        return self.finer(rows, r, 1)


def test_a_dual_that_the_usual_rules_do_not_resolve_is_not_believed():
    """At 0.0025 sigma, with Q's sigma within 5e-5 of P's: 20 and 30 nodes differ by 1e-4, and both say 5e-4 too much."""
    one = [np.array([v]) for v in (0.50076666558565, 0.5484589633739434, 0.49959206071190626, 0.49993602863898406)]
    dual = Held(radial_law(3072, 1000), angle_law(3072), *one, np.array([0.9999550228037014]), 0.0)
    held = {"m1": 4448.027149076128, "m2": -4447.281144726127, "log_norm": 1.8467749395424722e-06}
    for name, value in held.items():
        setattr(dual, name, np.array([value]))
    row, r = np.array([0]), np.array([0.002484244115137988])
    coarse, fine, exact = (dual.finer(row, r, times)[0] for times in (1, 1.5, 48))
    assert fine - 2 * abs(fine - coarse) > exact + 3e-4
    assert sure(dual, row, r)[0][0] <= exact


def test_a_crossing_that_is_not_found_counts_as_none(monkeypatch):
    ratio = Ratio(radial_law(784, 380), *(np.array([v]) for v in (1.25, 0.5, 1.0, 0.7)))
    t = np.square(ratio.rule(NODES)[0])
    found, balance = crossing(ratio, t), ratio_module._balance

    def restless(x, t, *rest):
        value, slope = balance(x, t, *rest)
        value[0, 7] = 1e-3 * slope[0, 7] * t[0, 7]
        return value, slope

    monkeypatch.setattr(ratio_module, "_balance", restless)
    again = crossing(ratio, t)
    assert again[0, 7] == -t[0, 7] < found[0, 7]
    np.testing.assert_allclose(np.delete(again, 7), np.delete(found, 7), rtol=1e-12)


def test_a_search_that_diverged_ends_no_table():
    """With multipliers of 1e13, which rounding keeps the iteration for the crossing from settling at."""
    found = dsrs_radius([0.9], [0.91], [0.9001], [0.9002], 56, 20, 1.0, "scaled", 1 - 1e-8)
    assert found["radius"][0] >= found["radius_np"][0] > 0


@pytest.mark.parametrize("d, expected", [(56, 3.532613), (422, 7.217476), (3198, 16.662853), (24276, 42.226787)])
def test_ideal_concentration(d, expected):
    """A classifier that is right in a ball and nowhere else: the radius at which half the shifted mass leaves the ball."""
    k = (d - 10) // 2
    law, angle = radial_law(d, k), angle_law(d)
    tau = special.gammaincinv(d / 2, 0.8) / (d / (d - 2 * k))

    def inside(r):
        return truncated_shifted_mass(
            law, angle, np.array([math.sqrt(tau)]), np.array([r * law.unit]), np.array([1e7]), np.array([-np.inf]), 40
        )[0]

    low, high = 0.0, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) > 0.5 else (low, middle)
    assert low == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("d, expected", [(56, 3.067117), (422, 4.993760), (3198, 8.233290), (24276, 13.635313)])
def test_ideal_concentration_of_gaussian_noise(d, expected):
    law, angle = radial_law(d, 0), angle_law(d)
    tau = special.gammaincinv(d / 2, 0.8)
    one = np.array([expected * law.unit]), np.array([1e7]), np.array([-np.inf])
    assert truncated_shifted_mass(law, angle, np.array([math.sqrt(tau)]), *one, 40)[0] == pytest.approx(0.5, abs=3e-7)
    assert stats.ncx2.cdf(2 * tau, d, expected**2) == pytest.approx(0.5, abs=3e-7)


def test_feasibility():
    """Extremes of Q(A) at P(A) = 0.9: right in a ball or outside one; nothing beyond is feasible."""
    p = np.array([0.9])
    most = special.gammainc(6, 1.25**2 * special.gammaincinv(6, 0.9))
    least = special.gammaincc(6, 1.25**2 * special.gammainccinv(6, 0.9))
    for b in (1.25, 0.8):
        ends = (most, least) if b > 1 else (
            special.gammaincc(6, b * b * special.gammainccinv(6, 0.9)), special.gammainc(6, b * b * special.gammaincinv(6, 0.9))
        )  # fmt: skip
        for end, step in zip(ends, (1e-9, -1e-9), strict=True):
            for sign, good in ((1, False), (0, True), (-1, True)):
                q = np.array([end + sign * step])
                assert feasible_scaled(6, p, p, q, q, np.array([b]))[0] == good
    assert list(feasible_truncated(p, p, *[np.array([v]) for v in (0.8, 0.8, 0.5)])) == [True]
    assert list(feasible_truncated(p, p, *[np.array([v]) for v in (0.79, 0.79, 0.5)])) == [False]
    for low, good in ((0.6, True), (0.61, False)):
        assert list(feasible_truncated(p / 3, p / 3, *[np.array([v]) for v in (low, 0.7, 0.5)])) == [good]
    assert overlap(392, np.array([1.25]))[0] == pytest.approx(6e-5, rel=0.05)
