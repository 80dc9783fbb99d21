"""Smoothed predictions: votes on every training image, sharded and resumed, read back, and refused where they do not belong."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from certflow.data.augmentation import PAD, crop_flip_draws
from certflow.data.store import content_digest, open_split, prepare
from certflow.data.views import VIEW, Views
from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.provenance import Provenance
from certflow.kinds.registry import register, spec_class
from certflow.models import build, load_model, save_model
from certflow.models.header import read_header
from certflow.noise.streams import Stream
from certflow.sampling import engine, stage
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import Reader, count_classes
from certflow.sampling.merge_predictions import merge_predictions
from certflow.sampling.origin import around
from certflow.sampling.predictions import smooth_predictions
from certflow.training.assembly import Files
from certflow.training.base import ReadsPredictions
from certflow.training.losses import cross_entropy
from certflow.training.predictions import Predictions, compact, read_predictions
from certflow.training.stage import Outputs, make_model

DIGITS = spec_class("dataset", "digits")()
NOISE = spec_class("noise", "gaussian")(sigma=0.25)
MODEL = spec_class("model", "small_conv")()
TRAINED = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.architecture(),
    "method": spec_class("method", "gaussian")().canonical(),
    "noise": NOISE.canonical(),
    "seed": 0,
}
IMAGES = 1352


def predictions_spec(n: int = 12, augment: bool = False) -> dict:
    entry = Predictions(method="gaussian", noise="gauss-0.25", n=n, augment=augment)
    return {**TRAINED, "model": MODEL.canonical(), "engine": 1, "predictions": entry.settings()}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a manifest, a base classifier with random weights, and its smoothed predictions of 12 votes."""
    folder = tmp_path_factory.mktemp("predictions")
    prepare(DIGITS, folder / "digits.json")
    torch.manual_seed(1)
    record = Provenance(format="model", spec=TRAINED, parents={"data": content_digest(folder / "digits.json")})
    save_model(folder / "model.safetensors", build(MODEL, DIGITS.info()), record)
    merge_predictions(
        predictions_spec(), shards=[smooth(folder, folder / "shard.npz")], predictions=folder / "predictions.npz"
    )
    return folder


def smooth(home: Path, path: Path, shard: str = "1-of-1", spec: dict | None = None) -> Path:
    smooth_predictions(
        spec or predictions_spec(),
        DIGITS,
        manifest=home / "digits.json",
        model=home / "model.safetensors",
        counts=path,
        shard=shard,
        device="cpu",
    )
    return path


def read(home: Path, path: Path, **changes) -> np.ndarray:
    expected = {"data": content_digest(home / "digits.json"), "images": IMAGES, "classes": 10} | changes
    return read_predictions(path, expected.pop("spec", predictions_spec()), **expected)[0]


def test_votes_are_those_of_the_engine_in_a_stream_of_their_own(home):
    found, record = read_arrays(home / "predictions.npz", format="predictions")
    split = open_split(DIGITS, home / "digits.json", "train")
    base = BaseClassifier(load_model(home / "model.safetensors", MODEL, DIGITS.info())[0], shape=(1, 8, 8))
    index, draws = np.arange(IMAGES), np.full(IMAGES, 12)
    options = {"noise": NOISE, "seed": 0, "quiet": True}
    wanted = count_classes(base, split.read(index), index, draws, stream=Stream.SMOOTHED_PREDICTIONS, **options)
    other = count_classes(base, split.read(index), index, draws, stream=Stream.ESTIMATION, **options)
    assert np.array_equal(found["counts"], wanted.counts) and not np.array_equal(found["counts"], other.counts)
    assert found["counts"].dtype == np.uint16
    assert record.notes["accuracy"] == (wanted.counts.argmax(axis=1) == split.labels).mean()
    assert record.parents["model"] == read_header(home / "model.safetensors")[1]


class Brightness(torch.nn.Module):
    """Class 3 where the pixels sum to more than a threshold, else class 5: right with a probability known in closed form."""

    def __init__(self, threshold: float):
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))

    def forward(self, x):
        excess = x.flatten(1).sum(dim=1) - self.threshold
        return excess[:, None] * torch.nn.functional.one_hot(torch.tensor(3), 10) - 1e3 * (1 - SIDES)


SIDES = torch.nn.functional.one_hot(torch.tensor([3, 5]), 10).sum(dim=0)


@pytest.mark.parametrize("threshold", [-1e6, 20.0])
def test_frequencies_estimate_the_smoothed_classifier(home, tmp_path, monkeypatch, threshold):
    record = read_header(home / "model.safetensors")[0]
    method = spec_class("method", "gaussian")
    monkeypatch.setattr(method, "load", staticmethod(lambda *_: (Brightness(threshold), record)))
    merge_predictions(predictions_spec(), shards=[smooth(home, tmp_path / "s.npz")], predictions=tmp_path / "p.npz")
    found = read(home, tmp_path / "p.npz")
    split = open_split(DIGITS, home / "digits.json", "train")
    sums = split.read(np.arange(IMAGES)).reshape(IMAGES, -1).sum(axis=1) / 255
    p = ndtr((sums - threshold) / (0.25 * 8))  # 64 pixels: the noise of their sum has 8 times the standard deviation
    assert (found[:, [3, 5]].sum(axis=1) == 1).all()
    assert (found[p > 1 - 1e-12, 3] == 1).all() and (found[p < 1e-12, 5] == 1).all()
    # Hoeffding: further off with probability at most 1e-6.
    bound = np.sqrt(np.log(2e6) / (2 * IMAGES * 12))
    assert abs(found[:, 3].mean() - p.mean()) <= bound
    unsure = (p > 0.05) & (p < 0.95)
    if unsure.any():
        assert abs(found[unsure, 3].mean() - p[unsure].mean()) <= np.sqrt(np.log(2e6) / (2 * unsure.sum() * 12))


@pytest.mark.parametrize("shards", [2, 7])
def test_merged_predictions_are_the_same_for_any_number_of_shards(home, tmp_path, shards):
    parts = [smooth(home, tmp_path / f"{k}.npz", f"{k}-of-{shards}") for k in range(shards, 0, -1)]
    merge_predictions(predictions_spec(), shards=parts, predictions=tmp_path / "many.npz")
    one, one_record = read_arrays(home / "predictions.npz")
    many, many_record = read_arrays(tmp_path / "many.npz")
    assert np.array_equal(one["counts"], many["counts"]) and one_record.digest == many_record.digest
    for wrong in (parts[1:], [*parts, parts[0]]):
        with pytest.raises(ArtefactError, match="do not hold its images once each"):
            merge_predictions(predictions_spec(), shards=wrong, predictions=tmp_path / "x.npz")


def test_shards_of_another_number_of_votes_are_refused(home, tmp_path):
    other = smooth(home, tmp_path / "2.npz", "2-of-2", predictions_spec(n=10))
    with pytest.raises(ArtefactError, match=r"predictions\.n: file has 10, asked for 12"):
        merge_predictions(
            predictions_spec(),
            shards=[smooth(home, tmp_path / "1.npz", "1-of-2"), other],
            predictions=tmp_path / "x.npz",
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"notes": {"precision": "another"}}, "was made otherwise than .*shard.npz; delete both"),
        ({"parents": {"model": "another"}}, r"parents .*model: file has 'another'"),
        ({"format": "counts"}, "is a 'counts' file"),
    ],
)
def test_shards_of_another_precision_or_of_other_weights_are_not_merged(home, tmp_path, changed, message):
    arrays, record = read_arrays(home / "shard.npz")
    whole = {name: {**getattr(record, name), **value} if name != "format" else value for name, value in changed.items()}
    write_arrays(tmp_path / "b.npz", arrays, replace(record, **whole))
    with pytest.raises(ArtefactError, match=rf"b\.npz: .*{message}"):
        merge_predictions(
            predictions_spec(), shards=[home / "shard.npz", tmp_path / "b.npz"], predictions=tmp_path / "x.npz"
        )


def test_an_interrupted_job_goes_on_and_ends_with_the_same_votes(home, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_ROWS", 2000)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(stage, "Journal", partial(stage.Journal, seconds=0.0))
    saves, save = [], stage.Journal.func.save

    def stop_after_three(journal, rows, counts, seconds):
        save(journal, rows, counts, seconds)
        saves.append(rows)
        if len(saves) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage.Journal.func, "save", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        smooth(home, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists() and (tmp_path / "a.npz.partial").exists()
    smooth(home, tmp_path / "a.npz")
    assert saves[3] > saves[2] > 0 and not (tmp_path / "a.npz.partial").exists()
    assert np.array_equal(read_arrays(tmp_path / "a.npz")[0]["counts"], read_arrays(home / "shard.npz")[0]["counts"])


def test_images_are_read_when_their_turn_comes(home, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_ROWS", 2000)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    split = open_split(DIGITS, home / "digits.json", "train")
    base = BaseClassifier(load_model(home / "model.safetensors", MODEL, DIGITS.info())[0], shape=(1, 8, 8))
    seen, index = [], np.arange(300)

    def rows(part: slice) -> np.ndarray:
        seen.append((part.start, part.stop))
        return split.read(index[part])

    options = {"noise": NOISE, "seed": 0, "stream": 5, "quiet": True}
    lazy = count_classes(base, Reader(rows), index, np.full(300, 40), **options)
    whole = count_classes(base, split.read(index), index, np.full(300, 40), **options)
    assert np.array_equal(lazy.counts, whole.counts)
    assert max(stop - start for start, stop in seen) < 70 and seen[-1][1] == 300
    with pytest.raises(ValueError, match="images and .* indices do not belong together"):
        count_classes(base, Reader(lambda part: split.read(index[:3])), index, np.full(300, 40), **options)


def test_frequencies_are_votes_over_n(home):
    found = read(home, home / "predictions.npz")
    counts = read_arrays(home / "predictions.npz")[0]["counts"]
    assert found.dtype == np.float32 and np.array_equal(found, (counts / 12).astype(np.float32))
    assert np.abs(found.sum(axis=1, dtype=np.float64) - 1).max() < 1e-6


def test_counts_are_compact_and_exact():
    for n, kind in ((65_535, np.uint16), (65_536, np.uint32)):
        counts = np.array([[n, 0]], np.int64)
        assert compact(counts, n).dtype == kind and np.array_equal(compact(counts, n), counts)


def altered(home: Path, path: Path, change) -> Path:
    arrays, record = read_arrays(home / "predictions.npz")
    write_arrays(path, {"counts": change(arrays["counts"].copy())}, record)
    return path


def one_vote_more(counts: np.ndarray) -> np.ndarray:
    counts[7, 2] += 1
    return counts


def test_predictions_that_do_not_belong_are_refused(home, tmp_path):
    with pytest.raises(DataError, match="of other images"):
        read(home, home / "predictions.npz", data="0" * 64)
    with pytest.raises(ArtefactError, match="holds 1352 rows of 10 classes, the training split has 1300 images of 10"):
        read(home, home / "predictions.npz", images=1300)
    with pytest.raises(ArtefactError, match="holds 1352 rows of 10 classes, .* of 100"):
        read(home, home / "predictions.npz", classes=100)
    with pytest.raises(ArtefactError, match=r"predictions\.n: file has 12, asked for 13"):
        read(home, home / "predictions.npz", spec=predictions_spec(n=13))
    with pytest.raises(ArtefactError, match="image idx 7: 13 votes instead of n=12"):
        read(home, altered(home, tmp_path / "a.npz", one_vote_more))
    with pytest.raises(ArtefactError, match="holds 1351 rows"):
        read(home, altered(home, tmp_path / "b.npz", lambda counts: counts[:-1]))


class Coloured:
    """A split of random images for the views."""

    labels = np.zeros(40, np.int64)
    pixels = np.random.default_rng(0).integers(1, 256, (40, 3, 8, 8)).astype(np.uint8)

    def __len__(self):
        return 40

    def read(self, indices):
        return self.pixels[indices]

    def describe(self, index):
        return f"image {index}"


def test_a_view_is_one_crop_with_or_without_mirroring():
    index = np.arange(5, 40)
    found = Views(Coloured(), "crop_flip", 3).read(index)
    row, column, flip = (x.numpy() for x in crop_flip_draws(torch.as_tensor(index), seed=3, epoch=VIEW))
    for i, view in enumerate(found):
        padded = np.pad(Coloured.pixels[index[i]], ((0, 0), (PAD, PAD), (PAD, PAD)))
        part = padded[:, row[i] : row[i] + 8, column[i] : column[i] + 8]
        assert np.array_equal(view, part[:, :, ::-1] if flip[i] else part)
    assert {True, False} == set(flip.tolist()) and len(set(zip(row.tolist(), column.tolist(), strict=True))) > 15
    # The view of an image depends on no other image, and is none that training sees first.
    assert np.array_equal(Views(Coloured(), "crop_flip", 3).read(index[4:5])[0], found[4])
    assert not np.array_equal(crop_flip_draws(torch.as_tensor(index), seed=3, epoch=0)[0], row)


def test_views_of_images_without_augmentation_are_the_images(home, tmp_path):
    merge_predictions(
        predictions_spec(augment=True),
        shards=[smooth(home, tmp_path / "a.npz", spec=predictions_spec(augment=True))],
        predictions=tmp_path / "b.npz",
    )
    assert np.array_equal(*(read_arrays(path)[0]["counts"] for path in (tmp_path / "b.npz", home / "predictions.npz")))
    with pytest.raises(ArtefactError, match="augment: file has True, asked for False"):
        read(home, tmp_path / "b.npz")


@register("guided_in_a_test")
class Guided(ReadsPredictions):
    """Cross-entropy with the smoothed predictions as targets."""

    kind: Literal["guided_in_a_test"] = "guided_in_a_test"

    def loss(self, batch):
        logits = batch.forward(batch.x + batch.noise(self.noises))
        soft = torch.nn.functional.cross_entropy(logits[0], batch.table("predictions"))
        return soft + 0 * cross_entropy(logits, batch.y).mean(), {}


def guided_spec(method: Guided, predictions: dict) -> dict:
    return {**TRAINED, "method": method.canonical(), "seed": 5, "tables": {"predictions": predictions}}


def train(home: Path, folder: Path, method: Guided, spec: dict, predictions: Path) -> Path:
    make_model(
        spec,
        DIGITS,
        method,
        manifest=home / "digits.json",
        outputs=Outputs(folder / "model.safetensors", folder / "training.tsv"),
        device="cpu",
        files=Files(tables={"predictions": predictions}),
    )
    return folder / "model.safetensors"


def test_a_model_says_which_predictions_it_learnt_from(home, tmp_path):
    method = Guided(epochs=1, lr=0.05, predictions="whatever it is called")
    assert "predictions" not in method.canonical()
    spec = guided_spec(method, predictions_spec())
    record = read_header(train(home, tmp_path, method, spec, home / "predictions.npz"))[0]
    assert record.spec["tables"]["predictions"]["predictions"] == {"revision": 1, "n": 12, "augment": False}
    assert record.parents["predictions"] == read_arrays(home / "predictions.npz")[1].digest
    assert not any("the published code has" in text for text in record.notes.get("warnings", ()))
    # Sampling asks for a model of these predictions and no other.
    setting = {**spec, "model": MODEL.canonical(), "engine": 1}
    files = (home / "digits.json", tmp_path / "model.safetensors")
    images = around(DIGITS, files[0], {"split": "test"}, None)
    assert stage.open_setting(setting, DIGITS, *files, "cpu", images).seed == 5
    setting["tables"] = {"predictions": predictions_spec(n=13)}
    with pytest.raises(ArtefactError, match=r"tables\.predictions\.predictions\.n: file has 12, asked for 13"):
        stage.open_setting(setting, DIGITS, *files, "cpu", images)


def test_training_refuses_predictions_made_otherwise(home, tmp_path):
    method = Guided(epochs=1)
    with pytest.raises(ArtefactError, match=r"predictions\.n: file has 12, asked for 13"):
        train(home, tmp_path, method, guided_spec(method, predictions_spec(n=13)), home / "predictions.npz")
    with pytest.raises(ArtefactError, match="13 votes instead of n=12"):
        wrong = altered(home, tmp_path / "a.npz", one_vote_more)
        train(home, tmp_path, method, guided_spec(method, predictions_spec()), wrong)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_base_classifier_of_another_noise_level_is_noted(home, tmp_path, capfd):
    loud = {**predictions_spec(), "noise": spec_class("noise", "gaussian")(sigma=0.5).canonical()}
    arrays, record = read_arrays(home / "predictions.npz")
    write_arrays(tmp_path / "loud.npz", arrays, Provenance(format="predictions", spec=loud, parents=record.parents))
    method = Guided(epochs=1)
    found = read_header(train(home, tmp_path, method, guided_spec(method, loud), tmp_path / "loud.npz"))[0]
    assert "gaussian noise of sigma 0.5; the published code has" in found.notes["warnings"][0]
    assert "note: " in capfd.readouterr().err
