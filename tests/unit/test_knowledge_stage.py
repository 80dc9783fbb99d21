"""Features and tables of layers as stages: which points, what of them, what they are made from, and what is refused."""

import numpy as np
import pytest
import torch
from attacks_examples import NOISE, trained

from certflow import knowledge
from certflow.data.store import content_digest, open_split, prepare
from certflow.errors import ArtefactError
from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.knowledge.losses import LOSSES
from certflow.knowledge.settings import Knowledge
from certflow.knowledge.stage import extract_features, measure_knowledge, random_order, read_features
from certflow.models import save_model
from certflow.models.header import read_header
from certflow.noise.base import Key
from certflow.noise.streams import Stream

DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
WANTED = Knowledge(points=100, deltas=5, seed=4)
MADE = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.architecture(),
    "method": spec_class("method", "gaussian")().canonical(),
    "noise": NOISE.canonical(),
    "seed": 0,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a manifest, a trained model and its features."""
    folder = tmp_path_factory.mktemp("knowledge")
    prepare(DIGITS, folder / "digits.json")
    record = Provenance(format="model", spec=MADE, parents={"data": content_digest(folder / "digits.json")})
    save_model(folder / "model.safetensors", trained(), record)
    extract(folder, folder / "features.npz", WANTED)
    return folder


def extract(home, path, wanted, **changes):
    spec = {**MADE, "features": wanted.extracted(), **changes}
    files = {"manifest": home / "digits.json", "model": home / "model.safetensors"}
    extract_features(spec, DIGITS, **files, features=path, device="cpu")
    return spec


def test_features_are_what_the_layers_give_of_one_noisy_copy_of_each_point(home):
    found, record = read_features(home / "features.npz", {**MADE, "features": WANTED.extracted()})
    assert found.layers[0] == "input" and found.layers[-1] == "logits" and len(found.layers) > 3
    split = open_split(DIGITS, home / "digits.json", "test")
    idx = random_order(len(split), 4)[:100]
    assert np.array_equal(found.labels, split.labels[idx])
    key = Key(torch.from_numpy(idx), torch.zeros(100, dtype=torch.int64), seed=4, stream=Stream.KNOWLEDGE_COPIES)
    copies = NOISE.copies(torch.from_numpy(split.read(idx)).float() / 255, key)
    assert np.array_equal(found.z["input"], copies.flatten(1).numpy())
    with torch.inference_mode():
        logits = trained()(copies)
    assert np.allclose(found.logits, logits.numpy(), atol=1e-5) and np.array_equal(found.z["logits"], found.logits)
    assert record.notes["noisy"] is True and record.notes["points"] == 100
    assert record.parents["model"] == read_header(home / "model.safetensors")[1]


def test_clean_points_can_be_asked_for_and_a_small_split_gives_all(home, tmp_path):
    spec = extract(home, tmp_path / "f.npz", WANTED.model_copy(update={"at": "clean", "points": 2000}))
    found, record = read_features(tmp_path / "f.npz", spec)
    assert len(found.labels) == 445 and record.notes["noisy"] is False
    assert np.array_equal(np.sort(found.z["input"].ravel())[[0, -1]], [0, 1])


def test_the_order_is_random_complete_and_of_the_seed_alone():
    order = random_order(300, 1)
    assert np.array_equal(np.sort(order), np.arange(300)) and not np.array_equal(order, random_order(300, 2))
    assert np.array_equal(order[order < 100], random_order(100, 1)), "more points keep the order of the first ones"
    assert abs(np.corrcoef(order, np.arange(300))[0, 1]) < 0.2


def test_the_tables_are_those_of_the_features_and_say_what_made_them(home, tmp_path):
    spec = {**MADE, "features": WANTED.extracted(), "measured": WANTED.measured()}
    paths = {"volatility": tmp_path / "v.tsv", "certificate": tmp_path / "c.tsv"}
    measure_knowledge(spec, features=home / "features.npz", **paths)
    volatility, made = read_table(paths["volatility"], format="volatility", spec=spec)
    curve, _ = read_table(paths["certificate"], format="knowledge certificate", spec=spec, parents=made.parents)
    found, record = read_features(home / "features.npz", {**MADE, "features": WANTED.extracted()})
    assert made.parents == {"features": record.digest, "model": record.parents["model"]}
    row = volatility[(volatility.layer == found.layers[1]) & (volatility.loss == "prob")].iloc[0]
    losses = LOSSES["prob"].of(found.logits, found.labels)
    one = knowledge.volatility(found.z[found.layers[1]], losses, "l2", 0.01)
    assert row.volatility == pytest.approx(one.value) and row.standard_error == pytest.approx(one.standard_error)
    assert row.accuracy == pytest.approx((found.logits.argmax(1) == found.labels).mean())
    assert set(curve.points) == {80} and set(curve.claim) == {"distributional"}


def test_features_of_other_settings_and_layers_that_there_are_not_are_refused(home, tmp_path):
    paths = {"volatility": tmp_path / "v.tsv", "certificate": tmp_path / "c.tsv"}
    spec = {**MADE, "features": {**WANTED.extracted(), "seed": 5}, "measured": WANTED.measured()}
    with pytest.raises(ArtefactError, match="seed: file has 4, asked for 5"):
        measure_knowledge(spec, features=home / "features.npz", **paths)
    with pytest.raises(ArtefactError, match="layers: no module 'conv9'.*change the `knowledge` entry"):
        extract(home, tmp_path / "f.npz", WANTED.model_copy(update={"layers": ["conv9"]}))
    with pytest.raises(ArtefactError, match="seed: file has 0, asked for 3"):
        extract(home, tmp_path / "f.npz", WANTED, seed=3)
