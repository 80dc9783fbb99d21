"""Image classifiers of transformers from a folder: the same logits, and every misfit refused by its name."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from certflow.data.base import DataInfo
from certflow.errors import ArtefactError
from certflow.models import adapters, build
from certflow.models.assemble import skeleton
from certflow.models.hf_folder import misfits, normalisation
from certflow.models.kinds.hf_image import HfImage

INFO = DataInfo(classes=5, shape=(3, 16, 16))
SMALL = HfImage.example["settings"]


def told(folder: Path, **more) -> Path:
    """A folder that says what it is, with weights that nobody looks at."""
    folder.mkdir(exist_ok=True)
    settings = {"model_type": "vit", "num_labels": 5, "image_size": 16, "num_channels": 3, **more}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, None),
        ({"id2label": {str(k): f"class {k}" for k in range(7)}}, "has 7 labels, the images have 5 classes"),
        ({"image_size": 224}, "takes images of 224x224 pixels, not 3x16x16; set resize: 224"),
        ({"num_channels": 1}, "takes images of 1 channels, not 3x16x16; take a model made for them"),
        ({"auto_map": {"AutoModel": "theirs.py"}}, "comes with code of its own"),
    ],
)
def test_what_does_not_fit_is_found_in_the_settings(tmp_path, more, message):
    found = misfits(told(tmp_path / "model", **more), INFO)
    assert found == [] if message is None else message in found[0]


def test_a_folder_that_is_not_one_is_refused(tmp_path):
    assert "has no config.json, model.safetensors" in misfits(tmp_path, INFO)[0]
    folder = told(tmp_path / "model")
    (folder / "config.json").write_text("[]")
    assert "is damaged" in misfits(folder, INFO)[0]


def test_normalisation_is_the_folder_s(tmp_path):
    assert normalisation(tmp_path, 3) == ([0.0] * 3, [1.0] * 3)
    said = {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": 0.5}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert normalisation(tmp_path, 3) == ([0.1, 0.2, 0.3], [0.5] * 3)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**said, "do_normalize": False}))
    assert normalisation(tmp_path, 3) == ([0.0] * 3, [1.0] * 3)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**said, "rescale_factor": 0.00392}))
    assert normalisation(tmp_path, 3) == ([0.1, 0.2, 0.3], [0.5] * 3)


@pytest.mark.parametrize("said", [{"image_mean": [0.5]}, {"image_mean": None}, {"rescale_factor": "1/255"}])
def test_a_normalisation_that_is_not_whole_is_refused(tmp_path, said):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ArtefactError, match="preprocessor_config.json: is damaged"):
        normalisation(tmp_path, 1)


@pytest.mark.parametrize("normalises", [True, False])
@pytest.mark.parametrize(
    ("rescaled", "factor"),
    [
        ({"rescale_factor": 1 / 127.5}, 1 / 127.5),
        ({"do_rescale": False}, 1.0),
        ({"do_rescale": False, "rescale_factor": 1 / 255}, 1.0),
    ],
)
def test_normalisation_of_other_units_than_pixels_in_0_to_1_is_the_same_function(
    tmp_path, normalises, rescaled, factor
):
    said = {"do_normalize": normalises, "image_mean": [0.9], "image_std": [0.5], **rescaled}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    (mean,), (sd,) = normalisation(tmp_path, 1)
    level, (centre, spread) = 200, (0.9, 0.5) if normalises else (0.0, 1.0)
    assert (level / 255 - mean) / sd == pytest.approx((level * factor - centre) / spread)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give one of"),
        ({"weights": "a", "hub": "b"}, "give one of"),
        ({"weights": "a", "settings": {"patch_size": 4}}, "is built as its config.json says"),
        ({"network": "vit", "settings": {"num_labels": 4}}, "num_labels is not a setting"),
        ({"hub": "a/b", "hub_revision": "main"}, "hub_revision: say which commit of a/b"),
    ],
)
def test_entries_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        HfImage(**fields)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("certflow.models.base.find_spec", lambda name: None)
    assert HfImage(network="vit").absent() == [
        "hf_image: needs the package transformers; install it beside this project"
    ]
    with pytest.raises(ValueError, match="needs the package transformers"):
        build(HfImage(network="vit", settings=SMALL), INFO)


def test_a_missing_folder_is_named(tmp_path):
    entry = HfImage(weights=str(tmp_path / "nowhere"))
    assert "there is no folder" in entry.absent()[-1] and entry.problems(INFO) == []


def test_models_of_a_hub_are_not_fetched_unasked(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="is not in the cache at that commit, and `download` is off"):
        build(HfImage(hub="certflow-tests/no-such-model", hub_revision="0" * 40), INFO)


@pytest.fixture
def saved(tmp_path):
    """A classifier as transformers stores it, and the classifier."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=16, num_labels=5, **SMALL)
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "model")
    return tmp_path / "model", network


def test_a_folder_gives_the_logits_of_its_classifier(saved):
    folder, network = saved
    found = build(HfImage(weights=str(folder), normalise="none"), INFO).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(found(x), network(x).logits)
    assert found[1].pretrained_cfg["num_classes"] == 5
    empty = skeleton(HfImage(weights=str(folder)), INFO)
    assert empty.state_dict().keys() == found.state_dict().keys()


def test_weights_of_the_old_layout_are_the_same_classifier(saved):
    """As published models have them: `encoder.layer.N.attention.attention.query`."""
    folder, network = saved
    names = {
        "vit.layers.": "vit.encoder.layer.",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    state = load_file(folder / "model.safetensors")
    if not any("encoder.layer" in name for name in state):
        state = {_renamed(name, names): tensor for name, tensor in state.items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        found = build(HfImage(weights=str(folder), normalise="none"), INFO).eval()
        torch.testing.assert_close(found(x), network(x).logits, rtol=0, atol=1e-6)


def _renamed(name, names):
    for new, old in names.items():
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("change", ["lacks", "has in addition"])
def test_weights_that_do_not_fit_are_refused_by_name(saved, change):
    folder, _ = saved
    state = load_file(folder / "model.safetensors")
    if change == "lacks":
        del state["classifier.bias"]
    else:
        state["classifier.more"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ArtefactError, match=rf"do not fit the classifier: {change} classifier\..*; get the whole folder again"
    ):
        build(HfImage(weights=str(folder)), INFO)


def test_additions_go_to_queries_and_values(saved):
    folder, _ = saved
    found = build(HfImage(weights=str(folder)), INFO)
    assert {name.rpartition(".")[2] for name in adapters.targets(found)} <= {"query", "value", "q_proj", "v_proj"}
    assert len(adapters.targets(found)) == 2 * SMALL["num_hidden_layers"]
