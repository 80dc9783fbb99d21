"""Input-specific sampling: its table by brute force, its look-up by brute force, and what its kind refuses."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import beta

from certflow.config import load
from certflow.errors import ConfigError
from certflow.kinds.registry import revive, spec_class
from certflow.sampling.planning.scale import scale_of
from certflow.sampling.planning.tolerance import draws_for, draws_table, draws_within, plug_in_radius, tolerant_draws

Iss = spec_class("sampler", "iss")
Gaussian = spec_class("noise", "gaussian")
SCALE = scale_of(spec_class("noise", "gaussian")(sigma=0.5), "l2", None)
LIMITS = {"n_max": 100_000, "granularity": 200, "alpha": 0.001, "scale": SCALE}


@pytest.mark.parametrize(
    "loss, tolerance", [("absolute", 0.02), ("absolute", 0.4), ("relative", 0.01), ("relative", 0.1)]
)
def test_bisection_finds_what_a_full_scan_finds(loss, tolerance):
    p = np.array([0.3, 0.5, 0.503, 0.505, 0.52, 0.77, 0.99, 0.9999, 1.0])
    steps = np.arange(1, 501) * 200
    radius = plug_in_radius(steps[:, None], p, 0.001, SCALE)
    best = radius[-1]
    target = best - tolerance if loss == "absolute" else (1 - tolerance) * best
    scan = np.where(target > 0, steps[np.argmax(radius >= target, axis=0)], 0)
    np.testing.assert_array_equal(draws_for(p, tolerance, loss, **LIMITS), scan)


def test_the_last_step_is_n_max_even_between_multiples():
    found = draws_for(np.array([0.9, 1.0]), 1e-9, "absolute", **{**LIMITS, "n_max": 1030})
    np.testing.assert_array_equal(found, 1030)


def test_look_up_is_the_maximum_over_all_cells_met():
    generator = np.random.default_rng(1)
    table = generator.permutation(501)
    low, high = np.sort(generator.uniform(0.3, 1.0, (2, 2000)), axis=0)
    low[:4], high[:4] = (0.5, 0.2, 1.0, 0.5004), (0.5, 0.4, 1.0, 0.5004)
    grid = np.linspace(0.5, 1.0, 501)
    for a, b, found in zip(low, high, draws_within(table, low, high), strict=True):
        cells = [(grid[i - 1] if i else -1.0, grid[i]) for i in range(501)]
        met = [i for i, (left, right) in enumerate(cells) if left < b + 1e-12 and right > a - 1e-12]
        first, last = (met[0], met[-1]) if met else (0, 0)
        exact = [i for i in range(501) if abs(grid[i] - b) < 1e-12]
        last = exact[0] if exact else last
        assert found == table[max(first - 1, 0) : last + 1].max()


def test_the_plan_covers_every_probability_of_the_interval():
    from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

    for k0 in (960, 1000, 1500, 1990, 2000):
        low, high = clopper_pearson_lower(k0, 2000, 0.0005), clopper_pearson_upper(k0, 2000, 0.0005)
        (n,) = tolerant_draws(np.array([k0]), 2000, 0.05, "relative", **LIMITS)
        assert n >= draws_for(np.linspace(max(low, 0.505), high, 200), 0.05, "relative", **LIMITS).max()


def counts(k0: list[int], n0: int = 2000) -> np.ndarray:
    k0 = np.array(k0)
    return np.stack([(n0 - k0) // 2, k0, n0 - k0 - (n0 - k0) // 2], axis=1)


@pytest.mark.parametrize("loss", ["absolute", "relative"])
def test_both_ends_of_the_interval_have_half_of_alpha(loss):
    k0 = np.arange(900, 2000, 3)
    low, high = beta.ppf(0.0005, k0, 2001 - k0), beta.ppf(0.9995, k0 + 1, 2000 - k0)
    wanted = draws_within(draws_table(0.05, loss, n_max=100_000, granularity=200, alpha=0.001, scale=SCALE), low, high)
    np.testing.assert_array_equal(tolerant_draws(k0, 2000, 0.05, loss, **LIMITS), wanted)


def test_the_kind_plans_by_its_own_count_and_sigma():
    columns = Iss(tolerance=0.05).plan(counts([2000, 1400, 900]), Gaussian(sigma=0.25))
    assert list(columns["selected"]) == [1, 1, 1] and list(columns["k0"]) == [2000, 1400, 900]
    assert list(columns["n"]) == [45400, 400, 0]
    assert list(Iss(tolerance=0.05).plan(counts([2000, 1400]), Gaussian(sigma=0.5))["n"]) == [67200, 1400]
    both = [Iss(tolerance=0.05, loss="relative").plan(counts([1800]), Gaussian(sigma=s))["n"][0] for s in (0.25, 1.0)]
    assert both == [4800, 4800]
    order = np.random.default_rng(0).permutation(5)
    some = counts([2000, 1400, 900, 1100, 1800])
    whole, moved = (Iss(tolerance=0.05).plan(rows, Gaussian(sigma=0.25)) for rows in (some, some[order]))
    np.testing.assert_array_equal(moved["n"], whole["n"][order])
    with pytest.raises(ValueError, match="must have n0 = 2000 stage-1 draws"):
        Iss(tolerance=0.05).plan(counts([90], 100), Gaussian(sigma=0.25))


def test_more_tolerance_never_costs_more():
    draws = [draws_table(tolerance, "absolute", **LIMITS) for tolerance in (0.01, 0.02, 0.1, 0.5)]
    for stricter, looser in zip(draws, draws[1:], strict=False):
        assert (looser <= stricter).all()


@pytest.mark.parametrize(
    "fields",
    [{}, {"tolerance": 0.0}, {"tolerance": -1.0}, {"tolerance": 0.1, "loss": "both"}, {"tolerance": 0.1, "n0": 0}],
)
def test_refuses_fields(fields):
    with pytest.raises(ValidationError):
        Iss(**fields)


def test_problems_name_settings_that_can_never_work():
    assert Iss(tolerance=0.1).problems() == [] == Iss(tolerance=0.1).noise_problems(Gaussian(sigma=0.25))
    few, coarse = Iss(tolerance=0.1, n_max=9).problems()
    assert "at least 10" in few and "granularity=200 exceeds n_max=9" in coarse
    (share,) = Iss(tolerance=1.0, loss="relative").problems()
    assert "must be below 1" in share
    (none,) = Iss(tolerance=1.0).noise_problems(Gaussian(sigma=0.25))
    assert "largest radius 0.9529" in none
    assert Iss(tolerance=0.95).noise_problems(Gaussian(sigma=0.25)) == []
    assert Iss(tolerance=0.9, loss="relative").noise_problems(Gaussian(sigma=0.01)) == []
    spec = Iss(tolerance=0.1, alpha=0.01)
    assert revive("sampler", spec.canonical()) == spec


def test_an_impossible_pair_is_refused_before_anything_runs():
    raw = {
        "datasets": {"digits": {"kind": "digits"}},
        "images": {"all": {}},
        "noises": {"g": {"kind": "gaussian", "sigma": 0.1}},
        "models": {"m": {"kind": "small_conv"}},
        "methods": {"t": {"kind": "gaussian", "epochs": 1}},
        "samplers": {"i": {"kind": "iss", "tolerance": 0.5}},
        "certificates": {"c": {"kind": "neyman_pearson", "sampler": "i"}},
        "experiments": {
            "e": {
                "dataset": "digits",
                "model": "m",
                "images": "all",
                "noises": ["g"],
                "methods": ["t"],
                "certificates": ["c"],
                "radii": [0.1],
            }
        },
    }
    with pytest.raises(ConfigError, match="c at g: samplers.i: tolerance=0.5 is not below the largest radius 0.3811"):
        load(raw)
