"""The one assumption that all certificates rest on: what is certified was drawn afresh, after class and n were chosen.

Every draw of noise is named by (seed, stream, image, draw number). These tests write down which names the stages use: stage 1
those of one stream, stage 2 those of another, no name twice, and the seed of the run in each of them.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from stage_examples import DIGITS, DRAWN, IMAGES, NOISE, SAMPLERS, SEED, Home, sampler_of

from certflow import SmoothedClassifier
from certflow.files.artefact import read_arrays, read_provenance
from certflow.kinds.registry import kinds, revive, spec_class
from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.noise.truncated import Truncated
from certflow.sampling.plan import read_plan
from certflow.sampling.predictions import smooth_predictions

CHOSEN = [3, 5, 7, 9, 11, 13, 15, 17, 19]
PURPOSES = {
    "SELECTION": 0,
    "ESTIMATION": 1,
    "PREDICTION": 2,
    "SECOND_DISTRIBUTION": 3,
    "BOUND": 4,
    "SMOOTHED_PREDICTIONS": 5,
    "ATTACK": 6,
    "ATTACK_COPIES": 7,
    "KNOWLEDGE": 9,
    "KNOWLEDGE_COPIES": 10,
    "PILOT": 11,
    "TRAIN_NOISE": 16,
    "TRAIN_AUGMENTATION": 17,
    "TRAIN_ORDER": 18,
    "TRAIN_EVALUATION": 19,
    "TRAIN_METHOD": 20,
    "TRAIN_STEP": 21,
}


class Names:
    """Writes down the name of every draw that any noise is asked for: (law, seed, stream, image, draw number)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.seen: Counter = Counter()
        classes = {spec_class("noise", kind) for kind in kinds("noise")} | {Truncated}
        for cls in classes:
            for method in ("sample", "steps"):
                if method in vars(cls):
                    monkeypatch.setattr(cls, method, self._noted(vars(cls)[method]))

    def _noted(self, function):
        def noted(noise: NoiseSpec, shape, key):
            pairs = zip(key.image.tolist(), key.draw.tolist(), strict=True)
            self.seen.update((type(noise).__name__, key.seed, int(key.stream), *pair) for pair in pairs)
            return function(noise, shape, key)

        return noted

    def taken(self) -> Counter:
        """The names since the last call."""
        seen, self.seen = self.seen, Counter()
        return seen


@pytest.fixture
def names(monkeypatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("fresh")).prepared()


def wanted(law: str, stream: int, draws: dict[int, int], seed: int = SEED) -> Counter:
    """Draws 0, 1, ... of every image, each once."""
    return Counter((law, seed, stream, image, draw) for image, n in draws.items() for draw in range(n))


def own_stream(kind: str) -> Stream:
    """Where the counts of a sampler are drawn. By those of `pilot` people choose what the others certify."""
    return Stream.PILOT if kind == "pilot" else Stream.ESTIMATION


def test_every_purpose_has_a_number_of_its_own_that_never_changes():
    assert {name: int(stream) for name, stream in Stream.__members__.items()} == PURPOSES
    assert len(set(PURPOSES.values())) == len(PURPOSES)


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("arithmetic", ["float", "exact"])
def test_stage_2_draws_nothing_that_stage_1_has_drawn(home, tmp_path, names, kind, arithmetic):
    sampler = sampler_of(kind, arithmetic=arithmetic)
    if sampler.problems():
        pytest.skip(f"{kind} has no {arithmetic} form")
    first = home.presample(sampler, tmp_path / "presample.npz")
    stage_1 = names.taken()
    assert stage_1 == wanted("Gaussian", Stream.SELECTION, dict.fromkeys(CHOSEN, sampler.n0))
    plan = home.plan(sampler, first, tmp_path / "plan.tsv")
    counts, _ = read_arrays(home.sample(plan, tmp_path / "counts.npz"), format="counts")
    stage_2 = names.taken()
    assert not stage_1.keys() & stage_2.keys()
    assert set(stage_2.values()) == {1}
    drawn = {idx: int(row.sum()) for idx, row in zip(counts["idx"].tolist(), counts["counts"], strict=True)}
    made = wanted("Gaussian", own_stream(kind), drawn)
    if kind == "double":
        made += wanted("Truncated", Stream.SECOND_DISTRIBUTION, dict.fromkeys(CHOSEN, sampler.n_q))
    assert stage_2 == made


@pytest.mark.parametrize("kind", DRAWN)
def test_no_two_measurements_of_a_sampler_share_a_stream_or_use_that_of_stage_1(home, tmp_path, kind):
    sampler = sampler_of(kind)
    made = home.plan(sampler, home.presample(sampler, tmp_path / "a.npz"), tmp_path / "plan.tsv")
    plan = read_plan(made, home.counts_spec(sampler))
    streams = [measurement.stream for measurement in plan.measurements]
    assert len(set(streams)) == len(streams) and Stream.SELECTION not in streams
    assert streams[0] == own_stream(kind)


@pytest.mark.parametrize("q", [{"family": "scaled"}, {"family": "truncated", "rule": 0.6}])
def test_draws_of_a_second_law_are_fresh_whichever_law_it_is(home, tmp_path, names, q):
    sampler = sampler_of("double", q=q)
    home.counted(sampler, tmp_path)
    streams = {(law, stream) for law, _, stream, _, _ in names.taken()}
    second = "GeneralizedGaussian" if q["family"] == "scaled" else "Truncated"
    assert streams == {
        ("Gaussian", Stream.SELECTION),
        ("Gaussian", Stream.ESTIMATION),
        (second, Stream.SECOND_DISTRIBUTION),
    }


def test_votes_for_training_images_are_drawn_for_nothing_else(home, tmp_path, names):
    spec = {**home.spec, "predictions": {"n": 3, "augment": False}}
    smooth_predictions(spec, DIGITS, counts=tmp_path / "votes.npz", shard="2-of-9", **home.given)
    index = read_arrays(tmp_path / "votes.npz")[0]["idx"].tolist()
    assert names.taken() == wanted("Gaussian", Stream.SMOOTHED_PREDICTIONS, dict.fromkeys(index, 3))


@pytest.mark.parametrize("noise", [Gaussian(sigma=0.3), GeneralizedGaussian(k=2, sigma=0.3)], ids=lambda n: n.kind)
def test_the_door_draws_class_bound_and_prediction_from_three_streams(names, noise):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    classifier = SmoothedClassifier(model, noise, device="cpu")
    images = np.random.default_rng(0).random((2, 3, 2, 2), np.float32)
    classifier.certify(images, n0=20, n=40, seed=SEED, indices=[5, 4], quiet=True)
    law = type(noise).__name__
    assert names.taken() == wanted(law, Stream.SELECTION, {5: 20, 4: 20}) + wanted(
        law, Stream.ESTIMATION, {5: 40, 4: 40}
    )
    classifier.predict(images, n=30, seed=SEED + 1, indices=[5, 4], quiet=True)
    assert names.taken() == wanted(law, Stream.PREDICTION, {5: 30, 4: 30}, seed=SEED + 1)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_counts_are_those_of_the_run_s_own_seed(home, tmp_path, kind):
    """The other seed: `home` uses 7 throughout. Nothing of a run may be drawn under seed 0 or under another run's."""
    other = Home(tmp_path, seed=0).prepared()
    found = []
    for place in (home, other):
        folder = tmp_path / f"seed{place.seed}"
        folder.mkdir()
        plan, counts = place.counted(sampler_of(kind), folder)
        presampled, record = read_arrays(folder / "presample.npz")
        assert record.spec["seed"] == read_provenance(plan).spec["seed"] == place.seed
        arrays, record = read_arrays(counts)
        assert record.spec["seed"] == place.seed
        found.append((presampled["counts"], arrays["counts"]))
    assert found[0][1].any()
    for one, two in zip(*found, strict=True):
        assert not np.array_equal(one, two) or not one.any(), "a sampler may have no first look"


def test_the_images_are_those_that_were_asked_for(home, tmp_path):
    arrays, _ = read_arrays(home.presample(sampler_of("fixed"), tmp_path / "a.npz"))
    assert arrays["idx"].tolist() == CHOSEN and IMAGES["max"] == len(CHOSEN)


def test_samplers_survive_their_canonical_form():
    for kind in SAMPLERS:
        sampler = sampler_of(kind)
        assert revive("sampler", sampler.canonical()) == sampler and NOISE.sigma == 0.5
