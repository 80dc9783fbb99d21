"""The fewest draws of any test: closed forms, and tests that must not take fewer."""

import numpy as np
import pytest
from scipy.special import ndtr

from certflow.stats.limit import COSTS, _at_least, divergence, least_draws, most_power
from certflow.stats.optimal import growing_looks
from certflow.stats.truncated import least_counts

ALPHA = 0.001


def test_the_divergence_is_its_definition_and_0_of_equal_laws():
    x, y = 0.3, 0.6
    assert divergence(x, y) == pytest.approx(x * np.log(x / y) + (1 - x) * np.log((1 - x) / (1 - y)))
    assert divergence(0.2, 0.2) == 0 and divergence(1.0, 0.25) == pytest.approx(np.log(4))


def test_power_is_what_its_information_pays_for():
    information = np.array([0.0, 0.01, 1.0, 5.0, 6.9, 7.0, 1e9])
    power = most_power(information, ALPHA)
    inside = information < -np.log(ALPHA)
    assert divergence(power[inside], ALPHA) == pytest.approx(information[inside], abs=1e-6)
    assert power[0] == pytest.approx(ALPHA, abs=1e-9) and (power[~inside] == 1).all()
    assert (divergence(power[inside], ALPHA) >= information[inside]).all(), "rounded up: it is part of a lower bound"


@pytest.mark.parametrize(("q", "q0", "held"), [(0.1, 0.16, 0.9), (0.001, 0.0062, 0.5), (0.4, 0.5, 0.99)])
def test_one_radius_and_one_kind_of_image_take_what_wald_says(q, q0, held):
    exact = divergence(held, ALPHA) / divergence(q, q0)
    found = least_draws(np.array([q]), np.ones(1), np.array([q0]), np.array([held]), ALPHA)
    assert 0.98 * exact < found <= exact * (1 + 1e-9)


def test_a_share_that_alpha_alone_holds_costs_nothing():
    assert least_draws(np.array([0.6]), np.ones(1), np.array([0.5]), np.array([0.5]), ALPHA) < 1e-6


def test_no_test_of_ours_takes_fewer_draws():
    """Error spending at even levels, nobody giving up before 20,000 draws: its mean draws and its power, simulated."""
    rng, q0 = np.random.default_rng(0), float(ndtr(-1.0))
    looks = growing_looks(50, 20_000)
    accept = least_counts(looks, ALPHA * np.arange(1, len(looks) + 1) / len(looks), q0)
    failure = np.array([0.02, 0.1, 0.13])
    hits = np.cumsum([rng.binomial(n, 1 - failure, (2000, 3)) for n in np.diff(looks, prepend=0)], axis=0)
    passed = hits >= accept[:, None, None]
    drawn = looks[np.where(passed.any(axis=0), passed.argmax(axis=0), len(looks) - 1)]
    bound = least_draws(failure, np.full(3, 1 / 3), np.array([q0]), np.array([passed.any(axis=0).mean() - 0.01]), ALPHA)
    assert 0.2 * drawn.mean() < bound < drawn.mean()


def test_more_radii_and_larger_shares_take_more():
    failure, weights = np.array([0.001, 0.05, 0.2]), np.full(3, 1 / 3)
    limits = ndtr(-np.array([0.5, 1.0, 2.0]))
    shares = np.array([0.9, 0.6, 0.3])
    all_three = least_draws(failure, weights, limits, shares, ALPHA)
    assert all_three >= max(
        least_draws(failure, weights, limits[i : i + 1], shares[i : i + 1], ALPHA) for i in range(3)
    )
    assert all_three > least_draws(failure, weights, limits, 0.9 * shares, ALPHA)


def test_between_two_costs_a_convex_function_lies_above_what_its_neighbours_say():
    """Functions of the kind that prices make: cost less a concave worth, whose minimum lies anywhere."""
    rng = np.random.default_rng(0)
    gain, rate = rng.uniform(1, 1e7, (200, 1)), 10 ** rng.uniform(-8, 0, (200, 1))
    value = lambda cost: cost + gain * np.exp(-rate * cost)  # noqa: E731
    fine = np.concatenate([np.linspace(low, high, 9) for low, high in zip(COSTS[:-1], COSTS[1:], strict=True)])
    least, found = value(fine).min(axis=1), _at_least(value(COSTS))
    assert (found <= least * (1 + 1e-12)).all()
    inside = value(COSTS).argmin(axis=1)
    inside = (inside > 1) & (inside < len(COSTS) - 2)
    assert (found[inside] > 0.93 * least[inside]).all() and inside.sum() > 100


def test_a_worth_that_never_grows_is_cheapest_without_draws():
    assert _at_least((5.0 + COSTS)[None])[0] == pytest.approx(5.0, rel=1e-9)


def test_costs_reach_from_nothing_to_more_than_any_test_draws():
    assert COSTS[0] == 0 and COSTS[1] == 1 and COSTS[-1] == 1e8 and (np.diff(np.log(COSTS[1:])) < 0.13).all()


def test_what_no_test_can_hold_is_asked_for_as_far_as_it_can():
    """An image beyond the limit is held by alpha of all streams only, whatever is paid."""
    failure, weights = np.array([0.01, 0.4]), np.array([0.5, 0.5])
    one = least_draws(failure[:1], np.ones(1), np.array([0.16]), np.array([0.9]), ALPHA)
    half = least_draws(failure, weights, np.array([0.16]), np.array([0.45 + ALPHA / 2]), ALPHA)
    assert half == pytest.approx(one / 2, rel=0.02)
    everything = least_draws(failure, weights, np.array([0.16]), np.array([1.0]), ALPHA)
    assert np.isfinite(everything) and everything > half
