"""Planned sampling: expected gains by enumeration, the allocation by brute force, invariants, and what is refused."""

import re
from itertools import product

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from scipy import integrate, special, stats

from certflow.config import load
from certflow.kinds.registry import revive, spec_class
from certflow.sampling.planning.allocation import draws_at_price, draws_for_total, hull_steps
from certflow.sampling.planning.posterior import posterior
from certflow.sampling.planning.scale import scale_of
from certflow.sampling.planning.selection import equivalent_count
from certflow.sampling.planning.tolerance import draws_table
from certflow.sampling.planning.utility import draws_grid, failure_grid, utility
from certflow.sampling.ways import WAYS
from certflow.stats import clopper_pearson_failure, clopper_pearson_lower

Planned = spec_class("sampler", "planned")
GAUSSIAN = spec_class("noise", "gaussian")(sigma=0.5)
SCALE = scale_of(GAUSSIAN, "l2", None)
LIMITS = {"n_max": 2000, "granularity": 200, "alpha": 0.001, "scale": SCALE}
K0 = np.array([0, 100, 240, 250, 260, 275, 350, 450, 495, 498, 499, 500])


def gains(n_max: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
    n, worth = utility(200, n_max, 100, 0.001, 0.05, SCALE)
    return n, posterior(K0, 500, 0.15) @ worth.T


def stage_1(images: int = 300, n0: int = 500, seed: int = 0) -> np.ndarray:
    """Counts [images, 3] whose miss probabilities spread over many orders of magnitude."""
    generator = np.random.default_rng(seed)
    missed = 10 ** generator.uniform(-6, 0, images) * 0.7
    k0 = generator.binomial(n0, 1 - missed)
    other = generator.binomial(n0 - k0, 0.8)
    return np.stack([other, k0, n0 - k0 - other], axis=1)


@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_worth_of_draws_is_its_expectation(weight):
    n, worth = utility(200, 100_000, 100, 0.001, weight, SCALE)
    q, _ = failure_grid()
    assert (worth[0] == 0).all()
    for row in (1, 20, 60, len(n) - 1):
        misses = np.arange(n[row] + 1)
        radius = np.maximum(-special.ndtri(clopper_pearson_failure(n[row] - misses, n[row], 0.001)), 0)
        certified = clopper_pearson_lower(n[row] - misses, n[row], 0.001) > 0.5
        for column in range(0, len(q), 15):
            exact = (stats.binom.pmf(misses, n[row], q[column]) * (radius + weight * certified)).sum()
            assert worth[row, column] == pytest.approx(exact, abs=1e-7 if q[column] < 0.2 else 2e-5)


def test_worth_of_few_draws_is_its_expectation_to_nine_digits():
    n, worth = utility(8, 40, 1, 0.001, 0.05, SCALE)
    q, _ = failure_grid()
    for draws, found in zip(n[1:], worth[1:], strict=True):
        misses = np.arange(draws + 1)
        radius = np.maximum(-special.ndtri(clopper_pearson_failure(draws - misses, draws, 0.001)), 0)
        gain = radius + 0.05 * (clopper_pearson_lower(draws - misses, draws, 0.001) > 0.5)
        np.testing.assert_allclose(found, stats.binom.pmf(misses, draws, q[:, None]) @ gain, rtol=1e-9, atol=1e-9)


def test_grids():
    n = draws_grid(200, 100_000, 100)
    assert n[0] == 0 and n[1] == 200 and n[-1] == 100_000 and (n % 100 == 0).all() and (np.diff(n) > 0).all()
    assert (np.diff(n)[1:] <= np.maximum(100, 0.04 * n[1:-1] + 100)).all()
    fine = draws_grid(200, 100_000, 1)
    assert (np.diff(fine)[1:] <= 0.04 * fine[1:-1] + 1).all() and len(fine) < 170
    assert draws_grid(250, 250, 100).tolist() == [0, 250]
    assert set(draws_grid(250, 1030, 100).tolist()) >= {0, 250, 1030}
    q, edges = failure_grid()
    assert len(q) == 210 and (edges[:-1] < q).all() and (q[:-1] < edges[1:-1]).all()
    assert q[[0, 149, 150, -1]] == pytest.approx([1e-8, 0.3, 0.305, 0.9]) and np.ptp(np.diff(np.log(q[:150]))) < 1e-9


def test_tables_that_are_kept_cannot_be_written_to():
    for table in (
        *failure_grid(),
        *utility(200, 2000, 100, 0.001, 0.05, SCALE),
        draws_table(0.1, "absolute", **LIMITS),
    ):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1


def test_posterior_is_bayes_rule():
    q, edges = failure_grid()
    for k0, n0 in [(500, 500), (495, 500), (300, 500), (90, 100)]:
        (weight,) = posterior(np.array([k0]), n0, 0.15)
        assert weight.sum() == pytest.approx(1)
        law = stats.beta(n0 - k0 + 0.15, k0 + 1)
        np.testing.assert_allclose(np.cumsum(weight)[:-1], law.cdf(edges[1:-1]) / law.cdf(edges[-1]), atol=0.02)
        mean = integrate.quad(lambda t, law=law: t * law.pdf(t), 0, 0.9, points=[1e-4, 0.01, 0.5], limit=200)[0]
        assert (weight * q).sum() == pytest.approx(mean, rel=0.02)


def test_draws_fall_with_the_price_and_reach_the_most_at_none():
    n, gain = gains()
    draws = np.array([draws_at_price(n, gain, price) for price in np.geomspace(1e-12, 1e-2, 60)])
    assert (np.diff(draws, axis=0) <= 0).all()
    assert (draws[-1] == 0).all()
    some = gain.max(axis=1) > 1e-3
    assert some.sum() >= 9 and (draws[0][some] == n[-1]).all()
    assert (draws[0][K0 < 200] == 0).all()


def test_the_total_buys_the_largest_sum():
    """All assignments of a small problem; at totals that corners of the hull use up nothing is better."""
    n = np.array([0, 1, 2, 4, 7])
    gain = np.array([[0, 5.0, 5.5, 9.0, 9.1], [0, 1.0, 4.0, 4.5, 8.0], [0, 0.0, 0.0, 0.0, 0.0]])
    row = np.array([1, 0, 2, 0])
    hit = set()
    for total in range(1, 25):
        draws = draws_for_total(n, gain, row, total)
        found = sum(gain[r, np.searchsorted(n, d)] for r, d in zip(row, draws, strict=True))
        best = max(
            sum(gain[r, i] for r, i in zip(row, choice, strict=True))
            for choice in product(range(5), repeat=4)
            if n[list(choice)].sum() <= total
        )
        assert draws.sum() <= total
        if draws.sum() == total:
            hit.add(total)
            assert found == pytest.approx(best)
    assert len(hit) >= 6


def test_the_total_buys_what_one_price_buys_up_to_one_step():
    n, gain = gains()
    row = np.random.default_rng(0).integers(0, len(K0), 500)
    _, _, size, slope = hull_steps(n, gain)
    for price in (1e-7, 1e-6, 1e-5):
        wanted = draws_at_price(n, gain, price)[row]
        np.testing.assert_array_equal(draws_for_total(n, gain, row, wanted.sum()), wanted)
        less = draws_for_total(n, gain, row, wanted.sum() - 1)
        assert (less <= wanted).all() and less.sum() >= wanted.sum() - size.max()
    assert (slope >= 1e-12).all()


def test_steps_go_from_corner_to_corner_and_end_where_a_draw_gains_next_to_nothing():
    n = np.array([0, 1, 2, 4])
    rows, start, size, slope = hull_steps(n, np.array([[0, 1.0, 2.0, 3.0], [0, 1.1e-12, 2e-12, 3e-12]]))
    assert rows.tolist() == [0, 0, 1] and start.tolist() == [0, 2, 0] and size.tolist() == [2, 2, 1]
    assert slope == pytest.approx([1.0, 0.5, 1.1e-12])


def test_steps_of_a_block_go_to_the_first_images():
    n, gain = np.array([0, 10]), np.array([[0.0, 1.0]])
    assert draws_for_total(n, gain, np.zeros(4, np.int64), 29).tolist() == [10, 10, 0, 0]
    assert draws_for_total(n, gain, np.zeros(4, np.int64), 1000).tolist() == [10] * 4
    with pytest.raises(ValueError, match="the first step takes 10 for one image"):
        draws_for_total(n, gain, np.zeros(4, np.int64), 9)
    assert draws_for_total(n, 0 * gain, np.zeros(4, np.int64), 9).tolist() == [0] * 4


@pytest.mark.parametrize("budget", [600.0, 3000.0, 10_000.5, 30_000.0])
def test_the_budget_is_met_and_never_exceeded(budget):
    counts = stage_1()
    draws = Planned(budget=budget).plan(counts, GAUSSIAN)["n"]
    assert 500 + draws.mean() <= budget
    assert 500 + draws.mean() > budget - 100_000 / len(counts)
    assert ((draws == 0) | ((draws >= 200) & (draws <= 100_000))).all()
    more = Planned(budget=budget * 1.1).plan(counts, GAUSSIAN)["n"]
    assert (more >= draws).all()


def test_images_with_one_count_get_one_number_but_for_one_step():
    counts = stage_1()
    columns = Planned(budget=8000.0).plan(counts, GAUSSIAN)
    uneven = [k0 for k0 in np.unique(columns["k0"]) if len(set(columns["n"][columns["k0"] == k0])) > 1]
    assert len(uneven) <= 1
    order = np.random.default_rng(1).permutation(len(counts))
    moved = Planned(budget=8000.0).plan(counts[order], GAUSSIAN)
    for k0 in np.unique(columns["k0"]):
        assert sorted(columns["n"][columns["k0"] == k0]) == sorted(moved["n"][moved["k0"] == k0])
    priced = [Planned(price=1e-6).plan(rows, GAUSSIAN)["n"] for rows in (counts, counts[order])]
    np.testing.assert_array_equal(priced[1], priced[0][order])
    assert (columns["selected"] == counts.argmax(axis=1)).all()


def test_more_radius_than_equal_draws_on_the_images_it_planned_for():
    """In expectation over the posterior: that is what the plan promises, and what it beats equal draws by."""
    counts = stage_1(400)
    n, worth = utility(200, 100_000, 100, 0.001, 0.0, SCALE)
    columns = Planned(budget=10_500.0, accuracy_weight=0.0).plan(counts, GAUSSIAN)
    gain = posterior(columns["k0"], 500, 0.15) @ worth.T
    equal = gain[:, np.searchsorted(n, 10_000, side="right") - 1].mean()
    planned = gain[np.arange(400), np.searchsorted(n, columns["n"])].mean()
    assert planned > equal + 0.02


def test_with_auto_an_image_is_worth_what_its_runner_up_leaves_it():
    two_classes = np.array([[500, 0, 0], [499, 1, 0], [400, 100, 0], [260, 240, 0], [240, 260, 0]])
    spread = np.array([[220, 140, 140], [300, 100, 100]])
    for counts, equal in ((two_classes, True), (spread, False)):
        one, auto = (Planned(price=1e-6, bound_form=form).plan(counts, GAUSSIAN)["n"] for form in ("one", "auto"))
        assert (one == auto).all() == equal
    assert one[0] == 0 < auto[0]
    shares = np.array([[0.6, 0.2], [0.44, 0.28], [0.99, 0.006]])
    counts = np.round(np.column_stack([shares, 1 - shares.sum(axis=1)]) * 1000).astype(np.int64)
    radius = (special.ndtri(shares[:, 0]) - special.ndtri(shares[:, 1])) / 2
    found = equivalent_count(counts, np.zeros(3, np.int64), 1000, GAUSSIAN, "l2", None)
    np.testing.assert_allclose(found / 1000, special.ndtr(radius), atol=0.0011)


@pytest.mark.parametrize(
    "fields",
    [
        {"budget": 0.0},
        {"budget": -5.0},
        {"price": 0.0},
        {"n_min": 0},
        {"accuracy_weight": -1.0},
        {"prior_exponent": 0.0},
    ],
)
def test_refuses_fields(fields):
    with pytest.raises(ValidationError):
        Planned(**fields)


def test_problems_name_settings_that_can_never_work():
    assert Planned(budget=10_000.0).problems() == [] == Planned(price=1e-6).problems()
    for spec in (Planned(), Planned(budget=10_000.0, price=1e-6)):
        assert spec.problems() == ["give either budget (mean draws per image) or price (least gain per draw)"]
    (little,) = Planned(budget=500.0).problems()
    assert "stage 1 alone takes n0=500" in little
    (order,) = Planned(budget=1000.0, n_min=300, n_max=200).problems()
    assert "n_min=300 exceeds n_max=200" in order
    (few,) = Planned(budget=1000.0, n_min=9).problems()
    assert "at least 10" in few
    spec = Planned(budget=1000.0)
    assert revive("sampler", spec.canonical()) == spec


def test_a_budget_that_pays_for_no_step_is_an_error():
    with pytest.raises(
        ValueError, match=r"budget=500.1 with n0=500: 30 draws for 300 images are too few; .* raise the budget"
    ):
        Planned(budget=500.1).plan(stage_1(), GAUSSIAN)
    with pytest.raises(ValueError, match="budget=400 with n0=500: 0 draws for 300 images are too few"):
        Planned(budget=400.0).plan(stage_1(), GAUSSIAN)
    for wrong in (stage_1(n0=100), stage_1()[0]):
        with pytest.raises(ValueError, match="must have n0 = 500"):
            Planned(budget=1000.0).plan(wrong, GAUSSIAN)
    hopeless = np.full((4, 5), 100)
    assert (Planned(budget=1000.0).plan(hopeless, GAUSSIAN)["n"] == 0).all()


def test_presets_of_the_configuration_suit_every_experiment(root):
    raw = yaml.safe_load((root / "config.yaml").read_text())
    presets = ["paper", "fast", "max-acr", "decide", "iss"]
    for experiment in ("digits", "cifar10", "imagenet"):
        raw["experiments"][experiment]["certificates"] = presets
    study = load(raw)
    assert study.certificates["max-acr"].bound == "randomized" and study.certificates["max-acr"].bound_form == "auto"
    fast, large = study.samplers["fast"], study.samplers["max-acr"]
    assert (fast.budget, fast.n_max, large.budget, large.n_max) == (10_000, 100_000, 100_000, 1_000_000)
    for name in presets:
        assert study.certificates[name].alpha == getattr(
            study.samplers[study.certificates[name].sampler], "alpha", 0.001
        )
    paper = study.samplers[study.certificates["paper"].sampler]
    assert (paper.kind, paper.n0, paper.n) == ("fixed", 100, 100_000)


def test_a_way_costs_what_its_source_says_of_the_dearest_table():
    for name in ("estimate", "decide"):
        most = re.search(r"\d to ([\d,]+) ", WAYS[name].source)[1]
        assert WAYS[name].draws == int(most.replace(",", ""))
    assert WAYS["paper"].draws == 100 + 100_000
