"""Tests tuned on stage 1: whole numbers in the plan, exact sizes, and what the two ways of judging plan."""

import inspect

import numpy as np
import pytest
from scipy.special import ndtr
from stage_examples import Home

from benchmarks.climbing import climbed
from certflow.files.artefact import read_table
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.base import PlannedImages
from certflow.sampling.ladder import Ladder, stated_ladder
from certflow.sampling.plan import read_plan
from certflow.sampling.tuning import (
    FINE,
    REFERENCE,
    REWARDS,
    STIFFNESS,
    prior_on_atoms,
    reference_power,
    tuned,
    tuned_ladder,
)
from certflow.stats import clopper_pearson_failure
from certflow.stats.deconvolution import GRID, observed, smooth
from certflow.stats.lattice import atoms
from certflow.stats.optimal import Rungs, growing_looks
from certflow.stats.truncated import size

Decide, NOISE = spec_class("sampler", "decide"), Gaussian(sigma=0.5)
FAILURE = ndtr(-np.array([0.0, 1.0, 2.0]))
SETTINGS = {"first": 50, "last": 5000, "alpha": 0.001, "tolerance": 0.01}


@pytest.fixture(scope="module")
def hits() -> np.ndarray:
    return np.random.default_rng(1).binomial(100, ndtr(np.linspace(-1, 4, 200)))


@pytest.fixture(scope="module")
def tests(hits) -> dict:
    return tuned_ladder(hits, 100, FAILURE, **SETTINGS)


def test_tests_are_whole_numbers_and_keep_their_level(tests):
    looks = np.array(tests["looks"])
    assert looks[0] == 50 and looks[-1] == 5000
    for q0, accept, give_up in zip(FAILURE, tests["accept"], tests["give_up"], strict=False):
        assert all(isinstance(value, int) for value in accept + give_up)
        assert 0.0007 < size(looks, np.array(accept), q0) <= 0.001  # one count more would spend too much
    ladder = stated_ladder([0.0, 0.5, 1.0], FAILURE, tests, n_max=5000, alpha=0.001)
    assert ladder.give_up[-1].tolist() == tests["looks"]


def test_an_image_is_worth_from_256_to_67_million_draws():
    assert [round(2 ** (reward / FINE)) for reward in REWARDS] == [2**8, 2**26]


def test_they_depend_on_how_many_images_show_what_and_not_on_their_order(hits, tests):
    assert tuned_ladder(hits[::-1], 100, FAILURE, **SETTINGS) == tests


def test_exact_decisions_are_tested_with_the_distance_of_their_noise_away(tests, monkeypatch):
    """Where boundaries are made, and where a plan's are taken up: those that would do without the distance are refused."""
    given = {"n": np.array([5000]), "selected": np.array([0]), "k0": np.array([90])}
    sampler = Decide(n0=100, n_max=5000, radii=[0.0, 0.5, 1.0], tolerance=0.01, arithmetic="exact")
    images = PlannedImages(given, NOISE, 12, {"tests": tests})
    made = []
    monkeypatch.setattr("certflow.sampling.tuning.tuned_ladder", lambda k0, n0, failure, **_: made.append(failure))
    for distance in (0.0, 0.004):
        monkeypatch.setattr(Gaussian, "distance", lambda law, dim, distance=distance: distance)
        sampler.facts(images)
        np.testing.assert_allclose(made[-1], FAILURE - distance, rtol=1e-9)
        if not distance:
            assert sampler.measurements(images)[0].rule.accept.tolist() == tests["accept"]
    with pytest.raises(ValueError, match="the plan's test of radius 0 errs with probability"):
        sampler.measurements(images)


def test_images_near_a_radius_make_it_dearer(hits):
    near = np.random.default_rng(2).binomial(100, ndtr(np.full(200, 1.02)))
    far = np.random.default_rng(2).binomial(100, ndtr(np.full(200, -1.0)))
    reward = [tuned_ladder(k, 100, FAILURE[1:2], **SETTINGS)["rewards"][0] for k in (near, far)]
    assert reward[0] > reward[1]


def test_boundaries_that_err_too_often_or_do_not_fit_are_refused(tests):
    lower = {**tests, "accept": [[a - 3 for a in row] for row in tests["accept"]]}
    with pytest.raises(ValueError, match="errs with probability"):
        stated_ladder([0.0, 0.5, 1.0], FAILURE, lower, n_max=5000, alpha=0.001)
    with pytest.raises(ValueError, match="errs with probability"):
        stated_ladder([0.0, 0.5, 1.0], [0.5, 0.0, 0.0], tests, n_max=5000, alpha=0.001)
    with pytest.raises(ValueError, match="do not fit"):
        stated_ladder([0.0, 0.5], FAILURE[:2], tests, n_max=5000, alpha=0.001)
    with pytest.raises(ValueError, match="do not fit"):
        stated_ladder([0.0, 0.5, 1.0], FAILURE, tests, n_max=6000, alpha=0.001)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        stated_ladder([0.0, 0.5, 1.0], FAILURE[:2], tests, n_max=5000, alpha=0.001)
    with pytest.raises(ValueError, match="states no tests"):
        stated_ladder([0.0, 0.5, 1.0], FAILURE, None, n_max=5000, alpha=0.001)


def test_looks_begin_with_a_draw_and_increase_and_nothing_is_claimed_of_failures_that_no_draw_rules_out():
    def stated(looks, accept, failure=0.5):
        tests = {"looks": looks, "accept": [accept], "give_up": [[0] * len(looks), looks]}
        return stated_ladder([0.25], [failure], tests, n_max=2, alpha=0.3)

    assert stated([1, 2], [2, 2]).looks.tolist() == [1, 2] and stated([1, 2], [2, 3], failure=0.0)
    for looks in ([0, 2], [2, 2]):
        with pytest.raises(ValueError, match="do not fit"):
            stated(looks, [3, 3])
    with pytest.raises(ValueError, match="errs with probability 1, above"):
        stated([1, 2], [2, 2], failure=0.0)


def test_a_radius_that_no_draw_can_prove_is_never_held():
    tests = tuned_ladder(np.array([90, 95]), 100, np.array([0.3, 0.0]), **SETTINGS)
    assert tests["accept"][1] == [n + 1 for n in tests["looks"]]
    assert tests["give_up"][1] == tests["looks"] and tests["rewards"][1] == 0, "given up at once, and worth nothing"
    stated_ladder([0.0, 0.5], np.array([0.3, 0.0]), tests, n_max=5000, alpha=0.001)


def test_weights_of_the_prior_are_shares_of_the_density():
    density = np.exp(-((GRID - 1.0) ** 2))
    density /= density.sum()
    prior = prior_on_atoms(density, ndtr(-np.array([0.5, 1.0])))
    assert prior.weights.sum() == pytest.approx(1) and (prior.weights > 0).all() and (np.diff(prior.z) > 0).all()
    assert prior.weights[prior.z < 1].sum() == pytest.approx(0.5, abs=0.01)


def test_images_at_the_ends_of_the_grid_count_as_all_others():
    """Where the class that is judged is the label, many an image has it in no draw at all."""
    law = np.zeros(len(GRID))
    law[[0, -1]] = 0.25, 0.75
    prior = prior_on_atoms(law, FAILURE)
    assert prior.weights[[0, -1]] == pytest.approx([0.25, 0.75], abs=1e-3)


def test_the_reference_is_the_power_of_clopper_and_pearson():
    q0 = float(ndtr(-1.0))
    z, _ = atoms([q0])
    power = reference_power(q0, z, 0.001)
    at = int(np.argmin(np.abs(power - 0.6)))
    k = np.random.default_rng(0).binomial(REFERENCE, ndtr(z[at]), 20_000)
    shown = (np.asarray(clopper_pearson_failure(k, REFERENCE, 0.001)) < q0).mean()
    assert shown == pytest.approx(power[at], abs=0.02)
    assert (power[z <= 1.0] == 0).all()
    assert f"{REFERENCE:,} draws of every image" in " ".join(inspect.getsource(Decide).split()), "as the setting says"


def test_a_tuned_ladder_loses_what_is_tolerated_and_takes_the_draws_that_were_planned():
    """Climbed by images of the very law that it is tuned for."""
    density = np.exp(-((GRID - 1.2) ** 2) / 4)
    density, failure, looks = density / density.sum(), FAILURE[1:], growing_looks(50, 50_000)
    prior = prior_on_atoms(density, failure)
    tests = tuned(failure.tolist(), looks, density, 0.001, 0.006)
    rungs, rules = Rungs(failure, looks, prior, 0.001), None
    for _ in range(3):
        rules = rungs.solve([2.0 ** (test.reward / FINE) for test in tests], rules)
    give_up = np.array([*(test.give_up for test in tests), looks])
    ladder = Ladder(np.array([0.5, 1.0]), looks, np.array([test.accept for test in tests]), give_up)
    rng = np.random.default_rng(0)
    z = rng.choice(prior.z, 50_000, p=prior.weights)
    found = climbed(ladder, ndtr(z), rng)
    wanted = np.mean([reference_power(q0, z, 0.001) for q0 in failure], axis=1)
    held = (found.decided[:, None] >= ladder.radii).mean(axis=0)
    assert wanted - held == pytest.approx([0.006, 0.006], abs=0.002)
    assert held == pytest.approx(rules[0].held, abs=0.002)
    assert found.drawn.mean() == pytest.approx(rules[0].draws, rel=0.1)


@pytest.mark.parametrize("settings", [{"judge": "label", "n0": 0}, {"judge": "label"}, {"judge": "selected"}])
def test_the_stages_run_on_tests_that_the_plan_states(tmp_path, settings):
    home = Home(tmp_path).prepared()
    sampler = Decide(**{"n0": 20, "test": "optimal", "look": 20, "n_max": 200, "radii": [0.0, 0.25], **settings})
    plan, counts = home.counted(sampler, tmp_path)
    read = read_plan(plan, home.counts_spec(sampler))
    label = read.rows["label"].to_numpy()
    assert np.array_equal(read.rows["selected"], label) == (settings["judge"] == "label")
    assert set(read.record.facts["tests"]) == {"looks", "accept", "give_up", "rewards"}
    certificate = spec_class("certificate", "sequential")(sampler="s")
    table, _ = read_table(home.certify(certificate, plan, counts, tmp_path / "table.tsv"))
    if settings["judge"] == "label":
        assert set(table["predict"] - table["label"].to_numpy() * (table["predict"] >= 0)) <= {0, -1}


def test_a_class_is_selected_by_draws():
    assert "n0: must be at least 1" in Decide(n0=0).problems()[0]
    assert not Decide(n0=0, judge="label").problems()


@pytest.mark.parametrize("n0", [50, 100])
def test_the_law_that_stage_1_shows_is_right_near_each_radius(n0):
    """Also at 3 sigma, where an image misses once in 700 draws: the share of images near it, to a third."""
    rng = np.random.default_rng(0)
    z = np.where(rng.random(500) < 0.75, rng.normal(1.6, 1.1, 500), rng.normal(-1.5, 1.0, 500))
    law = smooth(observed(rng.binomial(n0, ndtr(z)), np.full(500, n0)), STIFFNESS)
    assert law.sum() == pytest.approx(1)
    for at in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        true = 0.75 * np.diff(ndtr((at + np.array([-0.15, 0.15]) - 1.6) / 1.1))[0]
        assert law[np.abs(GRID - at) < 0.15].sum() == pytest.approx(true, rel=0.35)
