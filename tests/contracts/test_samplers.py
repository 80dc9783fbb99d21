"""What every sampler promises: all is fixed from stage-1 counts alone, before a certified draw is made."""

import numpy as np
import pytest
from catalogue import DIM, file_of, small
from halfspaces import DIRECTIONS, Beside, stopped

from certflow.kinds.registry import kinds, spec_class
from certflow.noise.base import AdditiveNoise
from certflow.noise.streams import Stream
from certflow.sampling.base import PlannedImages, SamplerSpec

KINDS = kinds("sampler")
FITTING = [
    (kind, noise)
    for kind in KINDS
    for noise in kinds("noise")
    if not small("sampler", kind).noise_problems(small("noise", noise), DIM) and small("noise", noise).sigma
]
every_pair = pytest.mark.parametrize(("kind", "noise"), FITTING)
IMAGES, CLASSES = 40, 4


def first_counts(n0: int, images: int = IMAGES) -> np.ndarray:
    """int64 [images, CLASSES]: from images that are always right to such that nothing can be said about."""
    rng = np.random.default_rng(2)
    shares = np.linspace(0.25, 1, images)
    rows = [rng.multinomial(n0, [(1 - s) / 3, (1 - s) / 3, s, 1 - s - 2 * ((1 - s) / 3)]) for s in shares]
    return np.array(rows, np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_its_example_is_possible_and_fits_some_noise(kind):
    assert not small("sampler", kind).problems()
    assert any(k == kind for k, _ in FITTING), f"{file_of('sampler', kind)}: no noise fits its example"


@every_pair
def test_a_plan_has_its_columns(kind, noise):
    sampler, law = small("sampler", kind), small("noise", noise)
    counts = first_counts(sampler.n0)
    plan = sampler.plan(counts, law, DIM)
    for name in ("selected", "k0", "n"):
        assert plan[name].shape == (IMAGES,) and plan[name].dtype == np.int64, name
    assert all(len(values) == IMAGES for values in plan.values())
    assert (plan["k0"] == counts[np.arange(IMAGES), plan["selected"]]).all() and (
        plan["k0"] == counts.max(axis=1)
    ).all()
    assert (plan["n"] >= 0).all() and plan["n"].any()


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_have_an_empty_plan(kind):
    law = next(small("noise", noise) for one, noise in FITTING if one == kind)
    plan = small("sampler", kind).plan(np.zeros((0, CLASSES), np.int64), law, DIM)
    assert {len(values) for values in plan.values()} == {0}


@every_pair
def test_a_plan_is_a_function_of_stage_1_and_the_law(kind, noise):
    """Made twice it is the same, from counts that are only read: nothing that stage 2 draws can enter it."""
    counts = first_counts(small("sampler", kind).n0)
    counts.flags.writeable = False
    one, other = (small("sampler", kind).plan(counts, small("noise", noise), DIM) for _ in range(2))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@every_pair
def test_images_in_another_order_get_the_same_plan(kind, noise):
    sampler, law = small("sampler", kind), small("noise", noise)
    counts, order = first_counts(sampler.n0), np.random.default_rng(3).permutation(IMAGES)
    plan, turned = sampler.plan(counts, law, DIM), sampler.plan(counts[order], law, DIM)
    assert plan.keys() == turned.keys()
    assert all(np.array_equal(turned[name], plan[name][order]) for name in ("selected", "k0"))
    # Images that stage 1 does not tell apart may change places: where a budget ends, some of them get what is left.
    rows, again = (sorted(zip(*(made[n] for n in made if n != "selected"), strict=True)) for made in (plan, turned))
    assert again == rows


@every_pair
def test_classes_by_other_names_get_the_same_plan(kind, noise):
    sampler, law = small("sampler", kind), small("noise", noise)
    counts = first_counts(sampler.n0)
    ordered = np.sort(counts, axis=1)
    counts, names = counts[ordered[:, -1] > ordered[:, -2]], np.array([2, 3, 1, 0])  # without ties for the first place
    plan, turned = sampler.plan(counts, law, DIM), sampler.plan(counts[:, names], law, DIM)
    assert np.array_equal(names[turned["selected"]], plan["selected"])
    assert np.array_equal(turned["n"], plan["n"]) and np.array_equal(turned["k0"], plan["k0"])


@every_pair
def test_what_is_measured_follows_from_the_plan_row_by_row(kind, noise):
    sampler, law = small("sampler", kind), small("noise", noise)
    plan = sampler.plan(first_counts(sampler.n0), law, DIM)
    measured = sampler.measurements(PlannedImages(plan, law, DIM))
    streams = [m.stream for m in measured]
    assert measured[0].name == "counts" and len({m.name for m in measured}) == len(measured)
    assert Stream.SELECTION not in streams and len(set(streams)) == len(streams), (
        "draws of stage 1 may not be certified"
    )
    assert np.array_equal(measured[0].draws, plan["n"])
    assert measured[0].every == sampler.enumerates, "random draws are not all outcomes, whatever certificate reads them"
    assert not any(m.every for m in measured[1:])
    part = slice(5, 17)
    of_part = sampler.measurements(PlannedImages({name: values[part] for name, values in plan.items()}, law, DIM))
    for whole, some in zip(measured, of_part, strict=True):
        assert (
            whole.part(part).planned() == some.planned() and whole.noise == some.noise and whole.stream == some.stream
        )


@every_pair
def test_a_rule_ends_every_image_within_its_draws(kind, noise):
    """At looks that were fixed beforehand; and what is judged again from the same counts stays."""
    sampler, law = small("sampler", kind), small("noise", noise)
    if not isinstance(law, AdditiveNoise):
        pytest.skip("copies that are not sums fall beside no plane")
    beside = Beside(DIRECTIONS["one pixel"], law, images=2)
    n0 = np.full(len(beside.offset), sampler.n0)
    plan = sampler.plan(np.stack([n0 // 5, n0 - n0 // 5], axis=1), law, DIM)
    for measurement in sampler.measurements(PlannedImages(plan, law, DIM)):
        assert (measurement.rule is not None) <= spec_class("sampler", kind).sequential
        if measurement.rule is None:
            continue
        looks = measurement.rule.looks
        assert (np.diff(looks) > 0).all() and looks[0] > 0 and (looks[-1] <= measurement.draws).all()
        hits, decided = stopped(beside.hits(measurement), measurement)
        for one, decision, judged in zip(hits, decided, measurement.selected, strict=True):
            look = int(np.searchsorted(looks, len(one)))
            assert looks[look] == len(one)
            k = np.array([np.count_nonzero(one == judged)])
            again, finished = measurement.rule.judge(look, k, np.array([decision]))
            assert finished[0] and again[0] == decision
            assert decision <= measurement.rule.most(look, k)[0]


def sampler(kind, **settings):
    return spec_class("sampler", kind)(**settings)


ENDS = [
    sampler("decide", look=50, n_max=50),
    sampler("decide", radii=[0.5]),
    sampler("double", q={"family": "scaled", "ratio": 0.99}),
    sampler("iss", tolerance=0.1, n_max=10, granularity=10),
    sampler("iss", tolerance=0.9, loss="relative"),
    sampler("pilot", first=50, n_max=50),
    sampler("planned", budget=500.5, n_min=10, n_max=10),
]
BEYOND = [
    sampler("decide", look=51, n_max=50),
    sampler("decide", radii=[0.25, 0.25]),
    sampler("decide", radii=[-0.25, 0.5]),
    sampler("double", q={"family": "scaled", "ratio": 1.0}),
    sampler("iss", tolerance=0.1, n_max=9, granularity=9),
    sampler("iss", tolerance=0.1, granularity=101, n_max=100),
    sampler("iss", tolerance=1.0, loss="relative"),
    sampler("pilot", first=51, n_max=50),
    sampler("planned", budget=500.0),
    sampler("planned", price=1e-6, n_min=9),
    sampler("planned", price=1e-6, n_min=300, n_max=299),
]


def test_settings_have_problems_beyond_the_end_of_what_can_work_and_not_at_it():
    assert [made.problems() for made in ENDS] == [[]] * len(ENDS)
    assert [len(made.problems()) for made in BEYOND] == [1] * len(BEYOND)


@pytest.mark.parametrize(
    ("made", "cost", "draws", "second"),
    [
        (sampler("fixed", n0=20, n=300), 300, 300, 0),
        (sampler("decide", n_max=700), 700, 700, 0),
        (sampler("pilot", n_max=150), 150, 150, 0),
        (sampler("iss", tolerance=0.1, n_max=900), 900, 900, 0),
        (sampler("double", n=300, n_q=200), 500, 300, 200),
        (sampler("planned", n0=100, budget=800.0, n_max=5000), 700, 5000, 0),
        (sampler("planned", n0=100, price=1e-6, n_max=5000), 5000, 5000, 0),
    ],
)
def test_its_cost_is_that_of_stage_2_a_mean_where_it_is_fixed_and_else_the_most(made, cost, draws, second):
    assert (made.cost(small("noise", "gaussian")), made.draws, made.second_draws) == (cost, draws, second)


@pytest.mark.parametrize("kind", KINDS)
def test_its_cost_and_what_stage_1_depends_on_are_stated(kind):
    sampler = small("sampler", kind)
    assert all(sampler.cost(small("noise", noise)) > 0 for one, noise in FITTING if one == kind)
    assert sampler.presample()["n0"] == sampler.n0 and set(sampler.presample()) <= set(sampler.canonical())


def test_a_sampler_that_states_no_number_of_draws_needs_a_plan_of_its_own():
    silent = type("Silent", (SamplerSpec,), {"__annotations__": {"kind": str}})(kind="silent", n0=1)
    with pytest.raises(NotImplementedError, match="silent: states neither"):
        silent.plan(first_counts(1), small("noise", "gaussian"), DIM)
