"""What keeps the numerics of double sampling on the safe side, guard by guard.

Each test makes one source of error large, so that its guard decides: with it the result is a valid bound (known from a closed
form, or from the same computation without the error), and without it the result is not.
"""

import copy
import math

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy import special

from certflow.certify import dsrs_radius, gg_np_radius
from certflow.certify.base import Drawn
from certflow.certify.bounds import guarded
from certflow.certify.double_sampling.counted import double_radius, lower, pooled_bounds, upper
from certflow.certify.double_sampling.scaled import ScaledDual
from certflow.certify.double_sampling.tracing import trace
from certflow.certify.double_sampling.truncated import TruncatedDual
from certflow.certify.kinds.dsrs import SIDES, DoubleSampling
from certflow.noise import Exp2, GeneralizedGaussian, Pow2
from certflow.noise.radii.checks import RADIUS_GUARD
from certflow.noise.radii.spherical import half_table as half_table_module
from certflow.noise.radii.spherical.angle import CELLS, AngleLaw, angle_law
from certflow.noise.radii.spherical.half_table import GUARD, LEAST_FAILURE, HalfTable, half_table
from certflow.noise.radii.spherical.profiles import Exponential, Power, ProfileTable
from certflow.noise.radii.spherical.radial import TAIL, radial_law
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

D, K = 784, 380
LAW, ANGLE = radial_law(D, K), angle_law(D)
Q = [("truncated", 0.6), ("truncated", 0.3), ("scaled", 1 / 0.8), ("scaled", 1 / 1.2)]
"""Kind, and share of P in the ball or sigma over Q's."""


def intervals(kind: str, parameter: float) -> list[np.ndarray]:
    """pa_low, pa_high, qa_low, qa_high of three images each that Q tells something about."""
    p = np.array([0.90, 0.93, 0.97])
    q = p + {0.6: 0.03, 0.3: 0.02, 1 / 0.8: 0.02, 1 / 1.2: -0.04}[parameter] * np.array([1, 0.8, 0.4])
    return [p, p + 0.005, q, q + 0.005]


def dual(kind: str, parameter: float, angle: AngleLaw = ANGLE, eps: float = 0.0):
    make = TruncatedDual if kind == "truncated" else ScaledDual
    return make(LAW, angle, *intervals(kind, parameter), np.full(3, parameter), eps)


def start() -> tuple[np.ndarray, np.ndarray]:
    """Neyman-Pearson radii of the three images, and a little more."""
    np_radius = half_table(D, K).radius(1 - np.array([0.90, 0.93, 0.97]))
    return np_radius, np_radius + 0.05


def solved(made) -> np.ndarray:
    """The dual's bounds at the second radius of `start`."""
    np_radius, r = start()
    made.begin(np_radius, half_table(D, K).level(np_radius))
    return made.bound(np.arange(3), r)


def multipliers(made) -> np.ndarray:
    """What an error of one mass under P can change the dual by: the sum of the multipliers' sizes, and 1 for R."""
    if isinstance(made, TruncatedDual):
        return 1 + np.exp(made.level_in) + np.exp(made.level_out)
    return 1 + np.exp(made.log_norm) * (np.abs(made.m1) + np.abs(made.m2) / made.kappa)


class Biased(AngleLaw):
    """The angle's law, off by `bias` wherever it is asked, which its stated error covers."""

    def __init__(self, bias: float, rises: bool):
        self.bias, self.rises = 0.0, rises
        super().__init__(D)
        self.bias = bias
        self.error += abs(bias)

    def _wrong(self, y: np.ndarray) -> np.ndarray:
        return self.bias * (np.where(y > 0, 1.0, -1.0) if self.rises else 1.0)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        return super().cdf(y) + self._wrong(y)

    def cdf_and_density(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = super().cdf_and_density(y)
        return value + self._wrong(y), slope


@pytest.mark.parametrize("kind, parameter", Q)
@pytest.mark.parametrize("eps", [1e-4, 3e-3])
def test_the_numerical_error_is_taken_off_the_dual_in_full(kind, parameter, eps):
    plain, less = solved(dual(kind, parameter)), solved(dual(kind, parameter, eps=eps))
    np.testing.assert_allclose(less, plain - eps, atol=1e-12)
    made = dual(kind, parameter, eps=eps)
    solved(made)
    fine, bare = made.finer(np.arange(3), start()[1], 1.5), dual(kind, parameter)
    solved(bare)
    np.testing.assert_allclose(fine, bare.finer(np.arange(3), start()[1], 1.5) - eps, atol=1e-12)


@pytest.mark.parametrize("kind, parameter", Q)
def test_the_default_error_is_taken_off_where_none_is_given(kind, parameter):
    ratio, usual = parameter if kind == "truncated" else 1 / parameter, {"truncated": 1e-9, "scaled": 2e-8}[kind]
    errors = (None, 0.0, 1e-3, usual)
    found = [dsrs_radius(*intervals(kind, parameter), D, K, 1.0, kind, ratio, eps_num=error) for error in errors]
    radius = [one["radius"] for one in found]
    np.testing.assert_array_equal(radius[0], radius[3])
    assert (radius[0] < radius[1]).all() and (radius[2] < radius[0]).all()
    assert (radius[1] - radius[0] < 1e-5).all()


@pytest.mark.parametrize("kind, parameter", Q)
def test_the_masses_errors_enter_by_the_size_of_their_multipliers(kind, parameter):
    """(1 + sizes) times the error of a tabulated mass and of the tails that are cut off."""
    loose = copy.copy(ANGLE)
    loose.error = ANGLE.error + 1e-5
    plain, made = dual(kind, parameter), dual(kind, parameter, loose)
    difference = solved(plain) - solved(made)
    np.testing.assert_allclose(difference, multipliers(made) * 1e-5, rtol=1e-6)
    assert (multipliers(made) > 2).all()
    loose.error = 0.0
    exact = dual(kind, parameter, loose)
    tails = solved(exact) - solved(plain)
    np.testing.assert_allclose(tails, multipliers(plain) * ANGLE.error, rtol=0.1, atol=3e-15)
    assert TAIL > 0


@pytest.mark.parametrize("kind, parameter", [*Q[:3]])
@pytest.mark.parametrize("bias", [1e-5, -1e-5])
@pytest.mark.parametrize("rises", [False, True])
def test_a_table_of_the_angle_that_is_off_as_stated_never_raises_the_dual(kind, parameter, bias, rises):
    made = dual(kind, parameter, Biased(bias, rises))
    assert (solved(made) <= solved(dual(kind, parameter)) + 1e-9).all()


def test_a_table_of_the_angle_that_is_off_would_raise_the_dual_without_its_stated_error():
    raised = []
    for kind, parameter in Q[:3]:
        for bias in (1e-5, -1e-5):
            wrong = Biased(bias, rises=True)
            wrong.error = ANGLE.error
            raised.append((solved(dual(kind, parameter, wrong)) > solved(dual(kind, parameter)) + 1e-9).any())
    assert any(raised)


@pytest.mark.parametrize("d", [8, 784, 150_528])
def test_the_stated_error_of_the_angle_covers_the_table_everywhere(d):
    """Against 30-digit arithmetic at the middles of cells, where a cubic piece errs most, and elsewhere."""
    law = angle_law(d)
    per = 2 * law.reach / CELLS
    cells = np.random.default_rng(d).integers(0, CELLS, 25)
    y = -law.reach + per * (cells + np.resize([0.5, 0.31, 0.77], 25))
    with mpmath.workdps(30):
        half = mpmath.mpf(d - 1) / 2
        for one, found in zip(y, law.cdf(y), strict=True):
            share = (1 - abs(mpmath.mpf(one)) / mpmath.sqrt(d)) / 2
            tail = mpmath.betainc(half, half, 0, share, regularized=True) if d < 1000 else None
            exact = law.exact(np.array([one]))[0] if tail is None else (1 - tail if one > 0 else tail)
            assert abs(found - exact) <= law.error
    assert 1e-15 < law.error < 1e-11


@pytest.mark.parametrize("d", [784, 3072])
def test_tabulated_radii_lie_below_those_in_closed_form(d):
    """Without an exponent p = Phi(r): between the knots, too, and by the stated margin."""
    table = half_table(d, 0)
    r = np.random.default_rng(d).uniform(0.05, 5.9, 400)
    found = table.radius(special.ndtr(-r))
    assert (found <= r - GUARD / 2).all() and (found > r - 3e-9)[r < 4].all()
    assert table.radius(np.array([0.5, 0.7, 1.0])).tolist() == [0.0, 0.0, 0.0]
    beyond = table.radius(np.array([LEAST_FAILURE, LEAST_FAILURE / 2, 1e-30, 0.0]))
    assert beyond == pytest.approx([table.largest - GUARD] * 4, abs=1e-12), "no table is continued beyond its end"


class Light(HalfTable):
    """Of a law whose failures fall as fast as those of the Gaussian law of half the width, without quadrature."""

    def _rows(self, r, nodes):
        return np.square(r) / 2, special.ndtr(-2 * r)

    def _measured_error(self, r, level, failure, nodes):
        return 0.0


def test_a_table_ends_at_six_sigma_or_at_a_failure_of_1e_11():
    assert half_table(D, 0).radius(np.zeros(1))[0] == pytest.approx(6 - 1e-9, abs=1e-13)
    assert Light(D, K).largest == pytest.approx(-special.ndtri(1e-11) / 2, abs=0.004)


def test_a_table_ends_where_its_probabilities_stop_falling():
    """Whatever follows cannot be trusted either."""

    class Bent(Light):
        def _rows(self, r, nodes):
            level, failure = super()._rows(r, nodes)
            return level, np.where(r > 2, failure + 1e-6, failure)

    assert Bent(D, K).largest == pytest.approx(2.0, abs=0.004)


def test_what_quadrature_may_err_raises_the_tabulated_probability(monkeypatch):
    """A table whose masses may be off by 1e-5 gives the radii of failure probabilities that are 1e-5 larger."""
    plain = half_table(D, K)
    monkeypatch.setattr(HalfTable, "_measured_error", lambda self, r, level, failure, nodes: 1e-5)
    wary = HalfTable(D, K)
    failure = np.array([0.3, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(wary.radius(failure), plain.radius(failure + 1e-5), atol=3e-7)
    assert (wary.radius(failure) < plain.radius(failure) - 1e-6).all()


def test_the_measured_error_grows_with_that_of_either_mass(monkeypatch):
    """Four times what doubling the nodes changes, in the mass of p_A and in that of the level."""
    table, masses = half_table(D, K), half_table_module.masses
    r = np.linspace(0.1, 4, 200)
    level, failure = table._rows(r, 128)
    assert table._measured_error(r, level, failure, 128) < 1e-11
    for sign in (1, -1):

        def off(d, k, r, level, nodes, slope=False, sign=sign):
            return masses(d, k, r, level, nodes, slope) + np.where(sign * level > 0, 1e-6, 0.0)

        monkeypatch.setattr(half_table_module, "masses", off)
        assert table._measured_error(r, level, failure, 128) == pytest.approx(4e-6, rel=1e-3)


def test_more_nodes_are_taken_until_the_error_is_small(monkeypatch):
    asked = []

    def measured(self, r, level, failure, nodes):
        asked.append(nodes)
        return 1e-13 if nodes >= 128 else 1e-6

    monkeypatch.setattr(HalfTable, "_measured_error", measured)
    assert HalfTable(56, 20).mass_error == 1e-13 and asked == [32, 64, 128]


def tables() -> list[tuple]:
    """Class and arguments of a table of every kind, and how many Newton steps its levels take."""
    exponential, power = Exp2(sigma=1.0, k=1.0), Pow2(sigma=1.0, k=2.0, a=60.0)
    return [
        (HalfTable, (56, 20), 4),
        (HalfTable, (784, 380), 4),
        (HalfTable, (3072, 0), 1),
        (ProfileTable, (Exponential(64, 1.0, 1 / exponential.scale(64), 0.0),), 4),
        (ProfileTable, (Power(64, 2.0, 1 / power.scale(64), 60.0),), 4),
    ]


@pytest.mark.parametrize("kind, arguments, steps", tables(), ids=lambda value: getattr(value, "__name__", ""))
def test_levels_are_found_in_few_steps_and_the_nodes_suffice(kind, arguments, steps):
    """A slope that errs would lead to the same levels, by more steps."""
    asked = []

    class Counted(kind):
        knots = 100

        def masses(self, r, level, nodes, slope=False):
            asked.append((nodes, slope))
            return super().masses(r, level, nodes, slope)

    Counted(*arguments)
    taken = asked.index((32, False))
    assert abs(taken - steps) <= 1  # rounding may move the last step
    assert asked == [(32, True)] * taken + [(32, False)] + [(64, False)] * 2


class Told:
    """A dual that says what the test tells it: its bound, a function of the radius, and its bound by finer rules, a function of
    the radius and of how many times the nodes."""

    def __init__(self, bound, finer):
        self._bound, self._finer, self.asked, self.looked = bound, finer, [], []

    def begin(self, r, level):
        return np.ones(len(r), bool)

    def bound(self, rows, r):
        self.asked.append(r.copy())
        return self._bound(r)

    def finer(self, rows, r, times):
        self.looked.append(times)
        return self._finer(r, times)

    def case(self, rows):
        return np.full(len(rows), "lam2_pos")


def falling(end: float, to: float = 0.0):
    """p_A that a Gaussian half-space of radius `end` has at distance r, never below `to`."""
    return lambda r: np.maximum(special.ndtr(end - r), to)


def told(bound, finer=None) -> Told:
    return Told(bound, finer or (lambda r, times: bound(r)))


def traced(bound, finer=None, start=1.0, tol=1e-6):
    return trace(told(bound, finer), half_table(D, 0), np.array([start]), tol)


def test_a_trace_ends_where_the_dual_is_one_half():
    found = traced(falling(2.0))
    assert 2 - 1e-5 < found.radius[0] < 2 and found.dual[0] >= 0.5
    assert found.converged[0] and found.case[0] == "lam2_pos"


def test_a_trace_goes_no_further_than_each_bound_certifies():
    """The radius is the last one whose bound was computed and holds, not the one that it reaches to."""
    found = traced(lambda r: np.where(r < 1.2, 0.6, 0.49))
    assert found.radius[0] == pytest.approx(1.0, abs=1e-9), "the only radius that was shown to hold"
    assert (found.dual[0], found.case[0]) == (0.6, "lam2_pos"), "and nothing had to be taken back"
    never = traced(lambda r: np.full_like(r, 0.5))
    assert (never.radius[0], never.case[0], never.dual[0]) == (1.0, "lam2_pos", 0.5)


@pytest.mark.parametrize("off", [-4e-10, 4e-10])
def test_twice_what_finer_quadrature_changes_is_taken_off(off):
    """In either direction: where the two rules differ by 4e-10, the dual must exceed one half by as much."""
    found = traced(falling(2.0), lambda r, times: special.ndtr(2.0 - r) + off)
    assert found.dual[0] == pytest.approx(special.ndtr(2.0 - found.radius[0]) + off - 8e-10, abs=1e-15)
    assert 2 - 1e-4 < found.radius[0] < 2 and found.case[0] == "lam2_pos"


def test_a_bound_that_finer_quadrature_lowers_below_one_half_does_not_hold():
    second = lambda r: np.where(r < 1.2, 0.6, 0.5 + 2e-10)  # noqa: E731
    found = traced(second, lambda r, times: second(r) - np.where(r < 1.2, 0.0, 4e-10))
    assert (found.radius[0], found.dual[0]) == (1.0, 0.6)


def test_a_dip_that_only_finer_quadrature_sees_ends_a_trace():
    """Whatever is certified beyond it: each radius rests on all before it."""
    end = falling(3.0)
    found = traced(
        lambda r: np.where(r < 2, 0.6, end(r)),
        lambda r, times: np.where((r > 1.2) & (r < 1.5), 0.499, np.where(r < 2, 0.6, end(r))),
    )
    assert (found.radius[0], found.dual[0]) == (1.0, 0.6)


def test_rules_are_refined_until_two_agree():
    """The first two each differ by 1e-4 and more from the one before, and may lie below one half."""
    honest = falling(2.0)
    dual = Told(lambda r: honest(r) + 1e-3, lambda r, times: honest(r) + {1.5: -1e-4}.get(times, 0.0))
    found = trace(dual, half_table(D, 0), np.array([1.0]), 1e-6)
    assert 2 - 1e-5 < found.radius[0] < 2 and found.dual[0] == honest(found.radius[0])
    assert dual.looked[:3] == [1.5, 3, 6] and 12 not in dual.looked
    assert found.evaluations[0] == len(dual.asked) + len(dual.looked), "by whatever rule"


def test_a_dual_on_which_no_two_rules_agree_certifies_nothing():
    """Though all of them lie above one half."""
    dual = Told(falling(2.0), lambda r, times: 0.7 + 1e-8 * times + 0 * r)
    found = trace(dual, half_table(D, 0), np.array([1.0]), 1e-6)
    assert (found.radius[0], found.dual[0]) == (1.0, 0.5) and dual.looked == [1.5, 3, 6, 12]


@pytest.mark.parametrize(("share", "steps"), [(1.9, 0), (2.1, 2)])
def test_a_trace_goes_on_while_a_step_is_twice_the_tolerance(monkeypatch, share, steps):
    monkeypatch.setattr("certflow.certify.double_sampling.tracing.MOST_STEPS", 3)
    step, level = special.ndtri(0.6), lambda r: np.full_like(r, 0.6)
    found = traced(level, tol=step / share)
    assert found.radius[0] == pytest.approx(1 + steps * step, abs=1e-8) and found.converged[0] == (steps == 0)


def test_a_trace_that_is_cut_short_keeps_what_it_has_shown(monkeypatch):
    monkeypatch.setattr("certflow.certify.double_sampling.tracing.MOST_STEPS", 3)
    level = lambda r: np.full_like(r, 0.6)  # noqa: E731
    found = traced(level)
    assert not found.converged[0] and found.dual[0] == 0.6
    assert found.radius[0] == pytest.approx(1 + 2 * special.ndtri(0.6), abs=1e-8)


def test_unequal_shares_give_each_bound_its_own_level():
    """Exchanged levels would not show with equal shares, and would break the promise with unequal ones."""
    shares, n, n_q, k, k_q = [0.4, 0.05, 0.35, 0.2], 40_000, 30_000, 38_000, 29_600
    spec = DoubleSampling(sampler="double", alpha=0.004, shares=shares)
    plan = pd.DataFrame(
        {
            "idx": [0],
            "label": 0,
            "selected": 0,
            "k0": 9,
            "n0": 9,
            "n": n,
            "n_q": n_q,
            "q_kind": "truncated",
            "q_param": 0.6,
        }
    )
    counts, extra = np.array([[k, n - k]]), {"counts_q": np.array([[k_q, n_q - k_q]])}
    noise = GeneralizedGaussian(k=K, sigma=0.5)
    table = spec.certify(Drawn(plan, counts, noise, extra=extra, dim=D))
    levels = [guarded(0.004 * share, draws) for share, draws in zip(shares, (n, n, n_q, n_q), strict=True)]
    wanted = [
        clopper_pearson_lower(k, n, levels[0]) * (1 - 1e-15),
        clopper_pearson_upper(k, n, levels[1]) * (1 + 1e-15),
        clopper_pearson_lower(k_q, n_q, levels[2]) * (1 - 1e-15),
        clopper_pearson_upper(k_q, n_q, levels[3]) * (1 + 1e-15),
    ]
    np.testing.assert_array_equal(table[list(SIDES)].to_numpy()[0], wanted)
    found = dsrs_radius(*([value] for value in wanted), D, K, 0.5, "truncated", 0.6)
    assert table["radius"][0] == found["radius"][0] > table["radius_np"][0] == found["radius_np"][0] > 0


def test_pooled_images_spend_what_their_way_of_pooling_allows():
    """`strict` takes the better of two bounds at their own shares, `peer` one at alpha/2, `off` the first half's share."""
    p, q = (np.array([970]), np.array([1000])), (np.array([1985]), np.array([2000]))
    levels = np.array([0.004, 0.001, 0.002, 0.003])
    together = np.array([2955]), np.array([3000])
    assert pooled_bounds(p, q, 0.01, levels, "peer") == (lower(together, 0.005), upper(together, 0.005))
    assert pooled_bounds(p, q, 0.01, levels, "strict") == (lower(q, 0.002), 1.0)
    assert pooled_bounds(q, p, 0.01, levels, "strict") == (lower(q, 0.004), 1.0)
    assert pooled_bounds(p, q, 0.01, levels, "off") == (lower(p, 0.004), 1.0)
    none = np.array([0]), np.array([0])
    for pooled in ("peer", "strict", "off"):
        assert pooled_bounds(p, none, 0.01, levels, pooled) == (lower(p, 0.01), 1.0)


def test_bounds_without_draws_say_nothing_and_others_are_rounded_outwards():
    hits, draws = np.array([0, 5, 10, 0]), np.array([0, 10, 10, 10])
    low, high = lower((hits, draws), 0.01), upper((hits, draws), 0.01)
    assert (low[0], high[0]) == (0.0, 1.0) and low[3] == 0.0 and high[2] == 1.0
    level = guarded(0.01, 10)
    np.testing.assert_array_equal(low[1:3], clopper_pearson_lower([5, 10], 10, level) * (1 - 1e-15))
    np.testing.assert_array_equal(high[[1, 3]], clopper_pearson_upper([5, 0], 10, level) * (1 + 1e-15))
    assert (low[1:3] < clopper_pearson_lower([5, 10], 10, level)).all()
    assert (high[[1, 3]] > clopper_pearson_upper([5, 0], 10, level)).all()


def test_the_second_law_s_own_scale_and_percentile_reach_the_radius():
    """q_param is sigma of Q over that of the noise, or a percentile, image by image."""
    n = np.full(4, 50_000)
    p, q = (np.array([47_000] * 4), n), (np.array([48_600, 48_600, 48_300, 48_900]), n)
    kinds, parameters = np.array(["scaled", "scaled", "truncated", "truncated"]), np.array([0.8, 0.9, 0.5, 0.7])
    levels = np.full(4, 0.00025)
    found = double_radius(p, q, kinds, parameters, 0.001, levels, "peer", dim=D, k=K, sigma=0.25)
    for row in range(4):
        ends = [[found[name][row]] for name in SIDES]
        value = parameters[row] * 0.25 if kinds[row] == "scaled" else parameters[row]
        assert found["radius"][row] == dsrs_radius(*ends, D, K, 0.25, kinds[row], value)["radius"][0]
    assert len(set(found["radius"])) == 4


def test_certain_classes_have_finite_radii():
    """p = 1 cannot be known from draws; the radius of the least failure that arithmetic tells from none is the largest."""
    for k in (0, K):
        top = gg_np_radius([1.0, 1 - LEAST_FAILURE / 4], D, k, 0.5)
        assert np.isfinite(top).all() and top[0] == top[1] <= 0.5 * -special.ndtri(LEAST_FAILURE) * (1 if k == 0 else 2)
    assert gg_np_radius([1.0], D, 0, 0.5)[0] == pytest.approx(0.5 * -special.ndtri(1e-11), rel=2e-12)
    found = dsrs_radius([1.0], [1.0], [1.0], [1.0], D, 0, 0.5, "truncated", 0.5)
    assert np.isfinite(found["radius"][0]) and found["radius"][0] >= found["radius_np"][0]


def test_radii_are_cut_by_the_share_that_rounding_may_cost():
    p = np.array([0.6, 0.9, 0.99])
    np.testing.assert_array_equal(gg_np_radius(p, D, 0, 1.0), -special.ndtri(1 - p) * (1 - RADIUS_GUARD))
    found = dsrs_radius(p, p, p, p, D, 0, 0.5, "pooled", 0.0)
    for name in ("radius", "radius_np"):
        np.testing.assert_array_equal(found[name], gg_np_radius(p, D, 0, 0.5))
    assert (found["status"] == "pooled").all(), "intervals that touch agree"


SHARES = [
    (0.99e-6, 0.97, False),
    (1e-6, 0.97, True),
    (0.5, 0.97, True),
    (1 - 1e-6, 0.905, True),
    (1 - 0.9e-6, 0.905, False),
]


@pytest.mark.parametrize("share, q, asked", SHARES)
def test_balls_of_nearly_nothing_or_everything_tell_nothing(share, q, asked):
    found = dsrs_radius([0.9], [0.91], [q], [q + 0.004], D, K, 1.0, "truncated", share)
    assert (found["n_eval"][0] > 0) == asked
    if not asked:
        assert found["radius"][0] == found["radius_np"][0]


def test_what_is_said_where_the_second_law_is_not_asked():
    """Up to p = 1/2 there is no radius, and the dual is p itself; a little above, the table's margin leaves none; and 1/2
    stands for the dual of a radius that the first law alone gives."""
    p = np.array([0.4, 0.5, 0.5 + 1e-13, 0.9])
    found = dsrs_radius(p, p + 0.01, 0 * p, np.array([1, 1, 1, 0.79]), D, K, 1.0, "truncated", 0.5)
    assert found["status"].tolist() == ["abstain", "abstain", "ok", "infeasible"] and not found["n_eval"].any()
    assert found["dual"].tolist() == [0.4, 0.5, 0.5 + 1e-13, 0.5] and (found["radius"] > 0).tolist() == [False] * 3 + [
        True
    ]


def test_laws_that_overlap_too_little_are_not_used():
    """Overlap (2b/(1+b^2))^a: 1e-4 is where a second law stops being asked."""
    a = D / 2
    for target, status in ((0.99e-4, "disjoint"), (1.01e-4, "ok")):
        c = target ** (1 / a)
        b = (1 + math.sqrt(1 - c * c)) / c
        p, q = np.array([0.9]), np.array([special.gammainc(a, b * b * special.gammaincinv(a, 0.5))])
        found = dsrs_radius(p, p + 0.01, 0 * q, q * 0 + 1, D, 0, 1.0, "scaled", 1 / b)
        assert found["status"][0] == status
