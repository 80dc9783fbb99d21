"""The kind `neyman_pearson`: rows it returns, and every input it refuses."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from certflow.certify import CountsError, gaussian_radius, gaussian_radius_two_bound
from certflow.certify.base import Drawn
from certflow.certify.counts import same_images
from certflow.kinds.registry import revive, spec_class
from certflow.noise import Stream
from certflow.noise.variates import image_uniforms
from certflow.sampling.kinds.fixed import Fixed
from certflow.stats import effective_u

GAUSSIAN = spec_class("noise", "gaussian")(sigma=0.5)
NeymanPearson = spec_class("certificate", "neyman_pearson")
PLAIN = NeymanPearson(sampler="cohen")


def example() -> tuple[pd.DataFrame, np.ndarray]:
    """Five images, three classes: confident, unanimous, undecided, spread over the rest, not sampled."""
    counts = np.array([[950, 30, 20], [0, 1000, 0], [480, 500, 20], [450, 300, 250], [0, 0, 0]])
    plan = pd.DataFrame(
        {
            "idx": [0, 20, 40, 60, 80],
            "label": [0, 2, 1, 0, 1],
            "selected": [0, 1, 1, 0, 2],
            "k0": [95, 100, 50, 45, 0],
            "n0": 100,
            "n": [1000, 1000, 1000, 1000, 0],
        }
    )
    return plan, counts


def moved(counts: np.ndarray, row: int, change: list[int]) -> np.ndarray:
    counts[row] += change
    return counts


def test_rows():
    plan, counts = example()
    table = PLAIN.certify(Drawn(plan, counts, GAUSSIAN))
    radius, p_lower = gaussian_radius([950, 1000, 500, 450], 1000, 0.001, 0.5)
    assert list(table.predict) == [0, 1, -1, -1, -1]
    assert list(table.reason) == ["", "", "low_pA", "low_pA", "not_sampled"]
    assert list(table.k) == [950, 1000, 500, 450, 0]
    assert list(table.saturated) == [False, True, False, False, False]
    np.testing.assert_array_equal(table.radius, [*radius, 0])
    np.testing.assert_array_equal(table.p_lower, [*p_lower, 0])
    np.testing.assert_array_equal(table.p_upper, 1 - table.p_lower)
    assert (table.radius[:2] > 0).all() and (table.radius[2:] == 0).all()


def test_two_bounds_rescue_an_image_whose_rest_is_spread():
    plan, counts = example()
    table = NeymanPearson(sampler="cohen", bound_form="two").certify(Drawn(plan, counts, GAUSSIAN))
    radius, p_lower, p_upper = gaussian_radius_two_bound(450, 300, 1000, 0.001, 0.5)
    assert list(table.predict) == [0, 1, -1, 0, -1]
    assert (table.radius[3], table.p_lower[3], table.p_upper[3]) == (radius, p_lower, p_upper)
    assert table.p_lower[3] < 0.5 and table.radius[3] > 0


def test_the_randomized_bound_stands_beside_the_plain_one():
    plan, counts = example()
    certificate = NeymanPearson(sampler="cohen", bound="randomized")
    table, plain = (
        certificate.certify(Drawn(plan, counts, GAUSSIAN, seed=5)),
        PLAIN.certify(Drawn(plan, counts, GAUSSIAN)),
    )
    np.testing.assert_array_equal(table.radius_plain, plain.radius)
    assert (table.radius >= plain.radius).all() and table.radius[1] > plain.radius[1]
    assert (table.p_lower >= plain.p_lower).all()
    u = image_uniforms(plan.idx.to_numpy(), seed=5, stream=Stream.BOUND)
    np.testing.assert_array_equal(table[["u", "u_other"]], effective_u(u[:, :2], 0.001))
    radius, _ = gaussian_radius(1000, 1000, 0.001, 0.5, table.u[1])
    assert table.radius[1] == radius
    rows = [3, 1]
    moved = certificate.certify(Drawn(plan.iloc[rows], counts[rows], GAUSSIAN, seed=5))
    pd.testing.assert_frame_equal(moved, table.iloc[rows].reset_index(drop=True))
    assert (certificate.certify(Drawn(plan, counts, GAUSSIAN, seed=6)).u != table.u).all()
    unsaid, zero = (certificate.certify(Drawn(plan, counts, GAUSSIAN, **seed)).u for seed in ({}, {"seed": 0}))
    assert (unsaid == zero).all(), "the coins are those of seed 0 where none is given"


def test_both_bounds_are_randomized_in_the_two_bound_form():
    plan, counts = example()
    table = NeymanPearson(sampler="cohen", bound="randomized", bound_form="two").certify(Drawn(plan, counts, GAUSSIAN))
    row = gaussian_radius_two_bound(450, 300, 1000, 0.001, 0.5, table.u[3], table.u_other[3])
    assert (table.radius[3], table.p_lower[3], table.p_upper[3]) == row
    assert table.radius[3] > table.radius_plain[3] == gaussian_radius_two_bound(450, 300, 1000, 0.001, 0.5)[0]


def test_the_form_follows_stage_1_alone():
    plan, counts = example()
    plan = plan.assign(k0_other=[5, 0, 49, 30, 0])
    auto = NeymanPearson(sampler="cohen", bound_form="auto")
    table = auto.certify(Drawn(plan, counts, GAUSSIAN))
    assert list(table.bound_form) == ["one", "one", "two", "two", "one"]
    two = NeymanPearson(sampler="cohen", bound_form="two").certify(Drawn(plan, counts, GAUSSIAN))
    one = PLAIN.certify(Drawn(plan, counts, GAUSSIAN))
    for name in ("radius", "p_lower", "p_upper", "predict"):
        expected = np.where(table.bound_form == "two", two[name], one[name])
        np.testing.assert_array_equal(table[name], expected)
    elsewhere = np.array([*[[334, 333, 333]] * 4, [0, 0, 0]])
    other = auto.certify(Drawn(plan, elsewhere, GAUSSIAN))
    assert list(other.bound_form) == list(table.bound_form)
    with pytest.raises(CountsError, match="k0_other"):
        auto.certify(Drawn(plan.drop(columns="k0_other"), counts, GAUSSIAN))


def test_the_form_is_one_with_two_classes():
    plan, _ = example()
    plan = plan.assign(label=0, selected=0, n=10, k0_other=plan.n0 - plan.k0)
    table = NeymanPearson(sampler="cohen", bound_form="auto").certify(Drawn(plan, np.full((5, 2), 5), GAUSSIAN))
    assert (table.bound_form == "one").all()


def test_order_of_images_and_classes_does_not_matter():
    plan, counts = example()
    table = PLAIN.certify(Drawn(plan, counts, GAUSSIAN))
    rows = [3, 0, 4, 1, 2]
    moved = PLAIN.certify(Drawn(plan.iloc[rows], counts[rows], GAUSSIAN))
    pd.testing.assert_frame_equal(moved, table.iloc[rows].reset_index(drop=True))
    renamed = PLAIN.certify(Drawn(plan.assign(selected=(plan.selected + 1) % 3), np.roll(counts, 1, axis=1), GAUSSIAN))
    np.testing.assert_array_equal(renamed.radius, table.radius)


def test_no_image_sampled_and_empty_plan():
    plan, counts = example()
    assert PLAIN.certify(Drawn(plan.assign(n0=0, k0=0), counts, GAUSSIAN)).radius[0] > 0, "stage 1 may have no draws"
    table = PLAIN.certify(Drawn(plan.assign(n=0), 0 * counts, GAUSSIAN))
    assert (table.predict == -1).all() and (table.reason == "not_sampled").all() and (table.p_upper == 1).all()
    assert len(PLAIN.certify(Drawn(plan[:0], counts[:0], GAUSSIAN))) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda plan, counts: (plan, moved(counts, 2, [1, 0, 0])), "idx 40: counts sum to 1001, the plan says n=1000"),
        (lambda plan, counts: (plan, moved(counts, 0, [0, 31, -31])), "idx 0: a class count is negative"),
        (lambda plan, counts: (plan, counts.astype(float)), "counts: must be whole numbers"),
        (lambda plan, counts: (plan, counts[:4]), "do not fit a plan of 5 images"),
        (lambda plan, counts: (plan, counts[:, 0]), "do not fit a plan of 5 images"),
        (lambda plan, counts: (plan.assign(label=0, selected=0), counts[:, :1]), "1 class"),
        (lambda plan, counts: (plan.assign(label=[0, 2, 3, 0, 1]), counts), "idx 40: label 3 is not below 3"),
        (lambda plan, counts: (plan.assign(label=[0, -1, 1, 0, 1]), counts), "idx 20: label -1"),
        (lambda plan, counts: (plan.assign(selected=[0, 1, 1, 3, 2]), counts), "idx 60: selected 3"),
        (lambda plan, counts: (plan.assign(idx=[0, 20, 20, 60, 80]), counts), "idx 20: is planned twice"),
        (lambda plan, counts: (plan.assign(idx=[0, -20, 40, 60, 80]), counts), "idx -20"),
        (lambda plan, counts: (plan.assign(k0=[95, 101, 50, 45, 0]), counts), "idx 20: k0 is 101"),
        (
            lambda plan, counts: (plan.assign(k0=[95, 100, -1, 45, 0]), counts),
            "idx 40: k0 is -1, must be from 0 to n0$",
        ),
        (
            lambda plan, counts: (plan.assign(k0=[95, 101, -1, 45, 0]), counts),
            r"idx 20: k0 is 101.* \(and 1 more images\)$",
        ),
        (lambda plan, counts: (plan.assign(n0=-1, k0=0), counts), "idx 0: n0 is -1.*4 more"),
        (lambda plan, counts: (plan.assign(n=[1000, 1000, 1000, 1000, -1]), counts), "idx 80: n is -1"),
        (lambda plan, counts: (plan.assign(label=plan.label.astype(float)), counts), "label: must be whole"),
        (lambda plan, counts: (plan.drop(columns=["k0", "n"]), counts), "lacks the columns k0, n"),
    ],
)
def test_refuses_counts_that_do_not_fit_the_plan(change, message):
    plan, counts = change(*example())
    with pytest.raises(CountsError, match=message):
        PLAIN.certify(Drawn(plan, counts, GAUSSIAN))


@pytest.mark.parametrize(
    ("idx", "message"),
    [
        ([0, 20, 40, 80, 60], "row 3 is of image idx 80, but the plan has image idx 60 there (2 such rows)"),
        ([0, 20, 40, 60], "holds 4 images, its plan has 5"),
    ],
)
def test_counts_of_other_images_than_the_plans_are_refused(idx, message):
    plan, _ = example()
    same_images(plan, plan.idx.tolist())
    with pytest.raises(CountsError) as caught:
        same_images(plan, idx)
    assert str(caught.value) == message


def test_two_bounds_are_refused_with_two_classes():
    plan, _ = example()
    plan = plan.assign(label=0, selected=0, n=10)
    with pytest.raises(ValueError, match="bound_form: one"):
        NeymanPearson(sampler="cohen", bound_form="two").certify(Drawn(plan, np.full((5, 2), 5), GAUSSIAN))


@pytest.mark.parametrize(
    "fields",
    [
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"alpha": float("nan")},
        {"alpha": "0.001"},
        {"bound_form": "best"},
        {"bound": "exact"},
        {"n": 100},
    ],
)
def test_refuses_fields(fields):
    with pytest.raises(ValidationError):
        NeymanPearson(sampler="cohen", **fields)


def test_problems_name_what_can_never_work():
    laplace = SimpleNamespace(kind="laplace")
    assert PLAIN.problems(GAUSSIAN, Fixed()) == []
    (problem,) = PLAIN.problems(laplace, Fixed())
    assert problem.startswith("norm: no l2 radius is known under noise of kind laplace; known: ")
    assert "gaussian (l2)" in problem and "laplace (l1, linf)" in problem
    plan, counts = example()
    with pytest.raises(ValueError, match="under noise of kind laplace"):
        PLAIN.certify(Drawn(plan, counts, laplace))


def test_what_a_coin_is_worth_on_average():
    """As the setting and docs/certificates.md say."""
    coins, n = effective_u((np.arange(1000) + 0.5) / 1000, 0.001), np.array([10**5, 10**4, 1000])
    worth = [
        [
            gaussian_radius(k, k + misses, 0.001, 1.0, coins)[0].mean() - gaussian_radius(k, k + misses, 0.001, 1.0)[0]
            for k in n
        ]
        for misses in (0, 1, 20)
    ]
    np.testing.assert_allclose(worth[0], [0.041, 0.048, 0.059], atol=6e-4)
    np.testing.assert_allclose(np.divide(worth[1:], worth[0]).T, [[0.57, 0.115]] * 3, atol=0.02)


def test_spec_survives_json():
    spec = NeymanPearson(sampler="cohen", alpha=0.01, bound_form="two")
    assert revive("certificate", spec.canonical()) == spec
    assert spec.digest() != PLAIN.digest()
