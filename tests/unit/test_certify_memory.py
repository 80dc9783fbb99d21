"""CERTIFY on arrays and in instalments: the pipeline's counts bit for bit, and nothing called certified that is not."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from stage_examples import BY_CHANCE, DIGITS, IMAGES, MODEL, NOISE, SEED, Home, certificate_of, sampler_of

from certflow import SmoothedClassifier
from certflow.certify import live as live_counts
from certflow.certify import memory
from certflow.certify.bounds import raised
from certflow.certify.live import Live, grows
from certflow.certify.previewing import previewed
from certflow.data.source import data_root
from certflow.data.subset import Images
from certflow.files.artefact import read_arrays, read_table
from certflow.kinds.registry import spec_class
from certflow.models.checkpoint import load_model
from certflow.noise import DependentSplitting, Stream
from certflow.sampling.copies import noisy_copies
from certflow.sampling.engine import Reader
from certflow.sampling.resume import Journal
from certflow.stats import LARGEST_N, anytime_failure, anytime_lower

ANYTIME = spec_class("certificate", "anytime")(sampler="fixed", alpha=0.01)
WIDE = NOISE.model_copy(update={"sigma": 2.0})
"""Noise under which classes are mixed."""
FIXED = spec_class("certificate", "neyman_pearson")(sampler="fixed", alpha=0.01)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("memory")).prepared()


@pytest.fixture(scope="module")
def network(home):
    return load_model(home.given["model"], MODEL, DIGITS.info())[0]


@pytest.fixture(scope="module")
def test_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8, their positions in the split, and their labels: those that the pipeline's folder certifies."""
    split = DIGITS.read("test", data_root(DIGITS))
    index = Images(**IMAGES).indices(len(split))
    return split.read(index), index, split.labels[index]


@pytest.fixture
def base(network, test_images):
    return memory.ready(network, test_images[0].shape[1:], inference=MODEL.inference, device="cpu")


def certified(model, asked, sampler, certificate, **options):
    images, index, labels = asked
    options = {"seed": SEED, "index": index, "labels": labels, "inference": MODEL.inference, "device": "cpu", **options}
    return memory.certify(model, images, NOISE, sampler, certificate, **options)


@pytest.mark.parametrize("kind", BY_CHANCE)
def test_the_table_is_the_pipelines(home, network, test_images, tmp_path, kind):
    sampler, certificate = certificate_of(kind)
    plan, counts = home.counted(sampler, tmp_path, shards=2)
    table = read_table(home.certify(certificate, plan, counts, tmp_path / "table.tsv"))[0]
    found = certified(network, test_images, sampler, certificate)
    for name, values in read_arrays(counts)[0].items():
        if name not in ("seconds", "idx", "label"):
            assert np.array_equal(found.arrays[name], values), name
    for name in table.columns.drop(["seconds", "time"]):
        written, made = table[name], found.table[name]
        same = written.fillna("").tolist() == made.tolist() if written.dtype == "str" else (written == made).all()
        assert same or written.isna().all() and (made == "").all(), name


def test_batch_company_and_reading_on_the_way_change_nothing(network, base, test_images):
    images, index, labels = test_images
    sampler, certificate = certificate_of("neyman_pearson")
    whole = certified(network, test_images, sampler, certificate)
    alone = certified(network, (images[4:5], index[4:5], labels[4:5]), sampler, certificate, batch=9)
    assert np.array_equal(alone.arrays["counts"][0], whole.arrays["counts"][4])
    reader = Reader(lambda rows: images[rows])
    read = memory.certify(base, reader, NOISE, sampler, certificate, seed=SEED, index=index)
    assert np.array_equal(read.arrays["counts"], whole.arrays["counts"])
    assert "label" not in read.table and "correct" not in read.table and "label" not in read.plan
    assert whole.claim.norm == "l2" and whole.notes["claim"]["alpha"] == certificate.alpha


def test_planned_draws_depend_on_the_images_that_are_planned_together(network, test_images):
    sampler, certificate = sampler_of("planned"), FIXED
    found = certified(network, test_images, sampler, certificate)
    assert found.table["n"].nunique() > 1
    assert (found.arrays["counts"].sum(axis=1) == found.plan["n"]).all()


def test_a_first_look_of_no_draws_leaves_the_choice_to_the_plan(base, test_images):
    wanted = memory.selection(NOISE, 0, len(test_images[1]))
    found = memory.Running().measure(base, test_images[0], test_images[1], wanted, seed=SEED)
    assert found["selection"].shape == (len(test_images[1]), 10) and not found["selection"].any()


@pytest.mark.parametrize("kind", ["neyman_pearson", "sequential", "dsrs"])
def test_work_that_was_cut_short_goes_on_with_the_same_counts(network, test_images, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("certflow.sampling.engine.CHUNK_ROWS", 256)
    monkeypatch.setattr("certflow.sampling.engine.CHUNK_SECONDS", 0.0)
    sampler, certificate = certificate_of(kind)
    whole = certified(network, test_images, sampler, certificate)
    calls, interrupted = [], []

    def journals(measurement):
        return Journal(tmp_path / f"{measurement.name}.partial", "job", seconds=0.0)

    def cut(limit):
        def watch(what, done, total):
            calls.append((what, done, total))
            if len(calls) >= limit:
                raise KeyboardInterrupt

        return memory.Running(journals=journals, watch=watch)

    for limit in (1, 3, 5, 10**9):
        calls.clear()
        try:
            found = certified(network, test_images, sampler, certificate, running=cut(limit))
        except KeyboardInterrupt:
            interrupted.append(limit)
    assert interrupted[:2] == [1, 3], "who watches ends the work, in either stage"
    for name, values in whole.arrays.items():
        if name != "seconds":
            assert np.array_equal(found.arrays[name], values), name
    assert all(0 <= done <= total for _, done, total in calls)


@pytest.mark.parametrize(
    ("sampler", "certificate", "options", "message"),
    [
        ({"n": 5}, {}, {}, "n=5 draws can never certify"),
        ({}, {"bound_form": "two"}, {"labels": [0] * 8}, "labels must be 9 integers"),
        ({}, {}, {"labels": [0.5] * 9}, "labels must be 9 integers"),
        ({}, {}, {"labels": [3] * 8 + [10]}, "image 19: label 10 is not one of the model's 10 classes"),
        ({}, {}, {"labels": [3] * 8 + [-1]}, "image 19: label -1 is not one of the model's 10 classes"),
        ({}, {}, {"index": None, "images": "reader"}, "need their positions"),
        ({}, {}, {"images": "reader"}, "need a model made `ready`"),
        ({}, {}, {"seed": -1}, "seed must be a whole number"),
    ],
)
def test_what_cannot_be_is_said(network, test_images, sampler, certificate, options, message):
    images, index, labels = test_images
    options = dict(options)
    if options.pop("images", None) == "reader":
        images = Reader(lambda rows: test_images[0][rows])
    law = spec_class("certificate", "neyman_pearson")(sampler="fixed", **certificate)
    with pytest.raises(ValueError, match=message):
        certified(network, (images, index, labels), sampler_of("fixed", **sampler), law, **options)


def test_a_certificate_for_a_fixed_number_is_refused_for_counts_that_stop(network, test_images):
    with pytest.raises(ValueError, match="counts of a decide sampler need another certificate"):
        certified(network, test_images, sampler_of("decide"), FIXED)
    with pytest.raises(ValueError, match="no l2 radius is known|norm"):
        other = spec_class("certificate", "neyman_pearson")(sampler="fixed", norm="l1")
        certified(network, test_images, sampler_of("fixed"), other)


@pytest.mark.parametrize("arithmetic", ["float", "exact"])
def test_counts_that_grow_are_those_of_one_go(base, test_images, arithmetic):
    images, index, labels = test_images
    sampler = sampler_of("fixed", n=3000, arithmetic=arithmetic)
    whole = memory.certify(base, images, NOISE, sampler, ANYTIME, seed=SEED, index=index)
    for row in (0, 5):
        live = Live(base, images[row], NOISE, sampler, ANYTIME, seed=SEED, index=int(index[row]))
        moments = list(live.moments())
        assert [m.drawn for m in moments][:3] == [0, 256, 512] and moments[-1].drawn == 3000
        last, wanted = moments[-1], whole.table.iloc[row]
        assert np.array_equal(last.counts, whole.arrays["counts"][row])
        assert (last.predict, last.radius, last.p_lower) == (wanted["predict"], wanted["radius"], wanted["p_lower"])
        assert all(m.valid for m in moments)
        best = np.maximum.accumulate([m.radius for m in moments])
        assert [m.best for m in moments] == best.tolist()


def test_every_moment_is_the_anytime_bound_of_its_counts(base, test_images):
    live = Live(base, test_images[0][2], NOISE, sampler_of("fixed", n=2000), ANYTIME, seed=SEED, index=3)
    for m in live.moments(step=400):
        assert m.counts.sum() == m.drawn and m.selected == live.first.argmax()
        if not m.drawn:
            assert (m.p_lower, m.p_upper, m.radius, m.predict) == (0, 1, 0, -1) and np.isnan(m.p_hat)
            continue
        assert m.p_lower == anytime_lower(m.counts[m.selected], m.drawn, 0.01)
        assert m.p_lower <= m.p_hat <= m.p_upper
        others = m.drawn - m.counts[m.selected]
        np.testing.assert_allclose(m.p_upper, 1 - anytime_lower(others, m.drawn, 0.01), rtol=1e-12)


def test_one_may_stop_and_go_on_here_or_in_another_process(base, test_images):
    image, sampler = test_images[0][1], sampler_of("fixed", n=4000)
    whole = Live(base, image, NOISE, sampler, ANYTIME, seed=SEED, index=5)
    *_, end = whole.moments()
    stopped = Live(base, image, NOISE, sampler, ANYTIME, seed=SEED, index=5)
    for m in stopped.moments():
        if m.drawn >= 1024:
            break
    assert stopped.drawn == m.drawn < 4000
    other = Live(base, image, NOISE, sampler, ANYTIME, seed=SEED, index=5, state=stopped.state())
    assert other.drawn == m.drawn and other.moment().best == m.best and np.array_equal(other.first, whole.first)
    for live in (stopped, other):
        *_, last = live.moments()
        assert np.array_equal(last.counts, end.counts) and last.radius == end.radius
    *_, beyond = other.moments(9000)
    assert beyond.drawn == 9000 and beyond.valid
    again = Live(base, image, NOISE, sampler_of("fixed", n=9000), ANYTIME, seed=SEED, index=5)
    *_, once = again.moments(step=9000)
    assert np.array_equal(once.counts, beyond.counts)


def test_a_bound_for_a_fixed_number_holds_at_that_number_only(base, test_images):
    live = Live(base, test_images[0][0], NOISE, sampler_of("fixed", n=1000), FIXED, seed=SEED, index=3)
    moments = list(live.moments())
    assert [m.valid for m in moments] == [False] * (len(moments) - 1) + [True]
    assert all(m.best == 0 for m in moments[:-1]) and moments[-1].best == moments[-1].radius
    with pytest.raises(ValueError, match="holds at 1000 draws only"):
        next(live.moments(2000))


def test_time_is_that_of_the_draws_that_count(base, test_images, monkeypatch):
    """How fast draws go is told from it, and how much of an instalment bounds are worth."""
    count = live_counts.count_classes

    def timed(*arguments, **options):
        spent = {Stream.SELECTION: 100.0, Stream.ESTIMATION: 0.5}[options["stream"]]
        return replace(count(*arguments, **options), seconds=np.array([spent]))

    monkeypatch.setattr(live_counts, "count_classes", timed)
    live = Live(base, test_images[0][0], NOISE, sampler_of("fixed", n=512), ANYTIME, seed=SEED, index=3)
    assert [(m.drawn, m.seconds) for m in live.moments(step=256)] == [(0, 0.0), (256, 0.5), (512, 1.0)]


def negative(counts):
    """Of the same sum."""
    return np.array([counts.sum() + 5, -5, *np.zeros_like(counts[2:])])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("first", negative),
        ("counts", negative),
        ("first", lambda counts: counts[1:]),
        ("counts", lambda counts: counts[1:]),
        ("first", lambda counts: counts + 1),
    ],
)
def test_a_state_that_is_not_of_these_counts_is_refused(base, test_images, name, wrong):
    arguments = base, test_images[0][0], NOISE, sampler_of("fixed", n=1000), ANYTIME
    live = Live(*arguments, seed=SEED, index=3)
    next(live.moments())
    state = live.state()
    with pytest.raises(ValueError, match="is not of this image and sampler"):
        Live(*arguments, seed=SEED, index=3, state={**state, name: wrong(state[name])})


@pytest.mark.parametrize("kind", ["sequential", "dsrs"])
def test_counts_of_rules_and_of_two_laws_do_not_grow(base, test_images, kind):
    sampler, certificate = certificate_of(kind)
    with pytest.raises(ValueError, match="cannot grow in instalments"):
        Live(base, test_images[0][0], NOISE, sampler, certificate, seed=SEED)


def test_a_state_of_something_else_is_refused(base, test_images):
    image, sampler = test_images[0][0], sampler_of("fixed")
    state = Live(base, image, NOISE, sampler, ANYTIME, seed=SEED).state()
    for wrong in ({"first": state["first"][:5]}, {"first": state["first"] + 1}, {"counts": state["counts"] - 1}):
        with pytest.raises(ValueError, match="state: is not of this image"):
            Live(base, image, NOISE, sampler, ANYTIME, seed=SEED, state={**state, **wrong})


@pytest.mark.parametrize("arithmetic", ["float", "exact"])
def test_the_bound_on_the_other_side_holds_for_the_noise_that_was_meant(base, test_images, arithmetic):
    """One minus the bound on misses, farther out by the distance of what exact arithmetic draws to it."""
    live = Live(base, test_images[0][0], WIDE, sampler_of("fixed", arithmetic=arithmetic), ANYTIME, seed=SEED)
    last = list(live.moments())[-1]
    missed = last.drawn - last.counts[last.selected]
    slack = WIDE.distance(base.dim) if arithmetic == "exact" else 0.0
    plain = anytime_failure(missed, last.drawn, ANYTIME.alpha)
    assert plain < last.p_upper == raised(np.asarray(plain), slack) if slack else last.p_upper == plain < 1


def test_the_class_is_chosen_by_draws_that_the_bound_does_not_count(base, test_images):
    sampler = sampler_of("fixed", n0=200)
    live = Live(base, test_images[0][0], WIDE, sampler, ANYTIME, seed=SEED)
    wanted = memory.selection(WIDE, sampler.n0, 1)
    found = memory.Running().measure(base, test_images[0][:1], np.zeros(1, np.int64), wanted, seed=SEED)
    assert np.array_equal(live.first, found["selection"][0])


@pytest.mark.parametrize("arithmetic", ["float", "exact"])
def test_the_copies_that_are_shown_are_those_that_were_counted(base, test_images, arithmetic):
    images, index, _ = test_images
    sampler = sampler_of("fixed", n0=8, arithmetic=arithmetic)
    live = Live(base, images[3], NOISE, sampler, ANYTIME, seed=SEED, index=int(index[3]))
    law = {"seed": SEED, "arithmetic": arithmetic}
    image, place = torch.as_tensor(images[3:4]), int(index[3])
    copies = noisy_copies(base, image, place, NOISE, 8, stream=Stream.SELECTION, **law)
    assert copies.shape == (8, *images.shape[1:]) and copies.dtype == np.float32
    shown = torch.from_numpy(copies) - (0 if base.shift is None else base.shift)
    classes, _ = base.classify(shown)
    assert np.array_equal(np.bincount(classes.numpy(), minlength=10), live.first)
    others = noisy_copies(base, image, place, NOISE, 3, stream=Stream.ESTIMATION, **law)
    assert not np.array_equal(copies[:3], others)


def test_the_door_is_a_front_of_it(network, test_images):
    images, index, _ = test_images
    smoothed = SmoothedClassifier(network, NOISE, device="cpu", inference=MODEL.inference)
    table = smoothed.certify(images, n0=30, n=120, alpha=0.01, seed=SEED, indices=index, quiet=True)
    found = certified(network, test_images, sampler_of("fixed"), FIXED).table
    assert list(table) == ["idx", "predict", "radius", "n", "k", "p_lower", "selected"]
    pd.testing.assert_frame_equal(table, found[list(table)], check_like=False)
    assert table.attrs["precision"] == MODEL.inference.precision


def test_torchs_settings_are_put_back(base, test_images):
    before = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision())
    torch.backends.cudnn.benchmark = True
    try:
        live = Live(base, test_images[0][0], NOISE, sampler_of("fixed"), ANYTIME)
        next(live.moments())
        certified(base, test_images, sampler_of("fixed"), FIXED)
        law = {"seed": SEED, "stream": Stream.SELECTION, "arithmetic": "float"}
        noisy_copies(base, torch.as_tensor(test_images[0][:1]), 0, NOISE, 3, **law)
        assert torch.backends.cudnn.benchmark is True
    finally:
        torch.backends.cudnn.benchmark = before[1]
    assert torch.backends.cudnn.deterministic == before[0] and torch.get_float32_matmul_precision() == before[2]


def test_instalments_are_one_batch_and_then_a_tenth_of_the_draws_so_far(base, test_images, monkeypatch):
    monkeypatch.setattr(Live, "_count", lambda live, draws, *_: draws * np.eye(10, dtype=np.int64)[3])
    live = Live(base, test_images[0][0].tolist(), NOISE, sampler_of("fixed"), ANYTIME)
    wanted = [*range(0, 2816, 256), 2816, 3328, 3840, 4352, 4864, 5376, 6000]
    assert [moment.drawn for moment in live.moments(6000)] == wanted


def test_a_number_of_draws_that_no_bound_is_verified_for_is_refused(base, test_images):
    live = Live(base, test_images[0][0], NOISE, sampler_of("fixed"), ANYTIME)
    assert next(live.moments(LARGEST_N)).drawn == 0
    with pytest.raises(ValueError, match="bounds of more than 100,000,000 draws are not verified, got 100000001"):
        next(live.moments(LARGEST_N + 1))


def test_everything_is_drawn_under_seed_0_unless_another_is_given(base, test_images):
    """Stage 1, certificates, votes and estimates."""
    images, _, labels = test_images
    fixed, pilot = sampler_of("fixed"), sampler_of("pilot")

    def drawn(**seed) -> list[np.ndarray]:
        live = Live(base, images[0], WIDE, fixed, ANYTIME, **seed)
        made = memory.certify(base, images, WIDE, fixed, ANYTIME, **seed)
        votes = memory.votes(base, images, WIDE, n=20, **seed)["counts"]
        return [
            live.first,
            made.arrays["counts"],
            votes,
            previewed(base, images, WIDE, pilot, labels, **seed)[0].hits,
        ]

    unsaid, zero, one = drawn(), drawn(seed=0), drawn(seed=1)
    for mine, same, other in zip(unsaid, zero, one, strict=True):
        assert np.array_equal(mine, same) and not np.array_equal(mine, other)


def test_an_estimate_is_of_the_usual_table_and_takes_the_time_of_both_stages(base, test_images, monkeypatch):
    images, index, labels = test_images
    plain = memory.Running.measure
    monkeypatch.setattr(memory.Running, "measure", lambda *a, **o: {**plain(*a, **o), "seconds": np.full(9, 2.0)})
    made, seconds = previewed(base, images, NOISE, sampler_of("pilot"), labels, index=index)
    assert (made.n, made.alpha, made.norm, made.dim) == (100_000, 0.001, "l2", base.dim) and seconds.tolist() == [
        4.0
    ] * 9
    assert (made.draws >= 150).all() and (made.hits <= made.draws).all()
    with pytest.raises(ValueError, match="^labels: an estimate is about the true classes"):
        previewed(base, images, NOISE, sampler_of("pilot"), None)


def test_nothing_is_printed_on_the_way_unless_it_is_asked_for(base, test_images, capfd):
    images, index, labels = test_images
    for work in (
        lambda **way: certified(base, test_images, sampler_of("fixed"), FIXED, **way),
        lambda **way: previewed(base, images, NOISE, sampler_of("pilot"), labels, index=index, **way),
    ):
        work()
        assert capfd.readouterr().err == ""
        work(running=memory.Running(quiet=False))
        assert "draw" in capfd.readouterr().err


def test_looking_less_changes_the_looks_and_not_the_counts(base, test_images):
    image = test_images[0][0]
    sampler = sampler_of("fixed", n=3000)
    often, seldom = (
        list(Live(base, image, NOISE, sampler, ANYTIME, seed=SEED).moments(looking=share)) for share in (None, 1e-9)
    )
    doubled = [base.batch << number for number in range(12)]
    wanted = [0, *(drawn for drawn in doubled if drawn < 3000), 3000]
    assert [moment.drawn for moment in seldom] == wanted, "the first look comes after one batch"
    assert len(often) > len(seldom) and np.array_equal(often[-1].counts, seldom[-1].counts)


def test_instalments_grow_until_looking_takes_its_share(base, test_images, monkeypatch):
    """A look of 10 ms at 1,000 draws a second is worth 1,000 draws where 1 % of the time may go into looking."""
    clock = itertools.count(10**6)
    monkeypatch.setattr("certflow.certify.live.time.thread_time", lambda: next(clock) / 100)
    monkeypatch.setattr(Live, "_rate", lambda self: 1000.0)
    live = Live(base, test_images[0][0], NOISE, sampler_of("fixed", n=5000), ANYTIME, seed=SEED)
    assert [m.drawn for m in live.moments(looking=0.01)] == [0, 256, 512, 1024, 2048, 3072, 4096, 5000]


def test_counts_of_all_outcomes_do_not_grow():
    assert not grows(DependentSplitting(sigma=0.5), sampler_of("enumerated"), 10, 64)


@pytest.mark.parametrize(("kind", "may"), [("fixed", True), ("planned", True), ("double", False), ("decide", False)])
def test_what_can_grow_is_known_before_anything_is_drawn(base, test_images, kind, may):
    sampler = sampler_of(kind)
    assert grows(NOISE, sampler, base.classes, base.dim) == may
    if not may:
        certificate = FIXED if kind == "double" else ANYTIME
        with pytest.raises(ValueError, match="grow in instalments|need|sampler"):
            Live(base, test_images[0][0], NOISE, sampler, certificate, seed=SEED)
