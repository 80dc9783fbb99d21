"""Models made elsewhere: settings, accuracy check, warnings, and the stage that stores them."""

import numpy as np
import pytest
import torch
from models_examples import ArraySplit, spec
from pydantic import ValidationError
from torch import nn

from certflow.data.base import DataInfo
from certflow.errors import ArtefactError, ConfigError, NonFiniteError
from certflow.files.intact import file_digest
from certflow.kinds.registry import revive, spec_class
from certflow.models import Normalise, import_model, load_model
from certflow.noise import Gaussian
from certflow.noise.base import Key
from certflow.noise.streams import Stream

External = spec_class("method", "external")
INFO = DataInfo(4, (1, 8, 8), mean=(0.3,), sd=(0.2,))
NOISE = Gaussian(sigma=0.25)


class Quadrants(spec_class("model", "small_conv")):
    """Which quarter of an image is brightest: correct by construction, and sensitive to how its input is scaled."""

    def backbone(self, info):
        network = quadrants(Normalise(INFO.mean, INFO.sd))
        if info.classes != 4:
            network[3] = nn.Linear(128, info.classes)
        return network


def quadrants(trained_under):
    """A network that is right under one normalisation: it undoes it, and counts pixels near the bright grey level."""
    size = 64
    first = nn.Conv2d(1, 2, 1)
    mean, sd = (1.0 * (v if v is None else v.item()) for v in (trained_under.mean, trained_under.sd))
    with torch.no_grad():  # relu(1 - |pixel - 0.7| / 0.4) built from two half-lines, pixel = sd·input + mean
        first.weight[:, 0, 0, 0] = torch.tensor([sd, -sd]) / 0.4
        first.bias[:] = torch.tensor([mean - 0.7, 0.7 - mean]) / 0.4
    last = nn.Linear(2 * size, 4)
    with torch.no_grad():
        quarter = (torch.arange(8)[:, None] // 4 * 2 + torch.arange(8)[None] // 4).flatten()
        mask = (quarter == torch.arange(4)[:, None]).float()
        last.weight[:] = -torch.cat([mask, mask], dim=1)
        last.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), last)


@pytest.fixture(scope="module")
def test_split():
    """600 grey images, one quarter of each at level 0.7 and the rest darker or brighter; sorted by class."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 4, 600))
    pixels = np.where(rng.random((600, 1, 8, 8)) < 0.5, 0.0, 1.0)
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.7
    return ArraySplit((pixels * 255).round().astype(np.uint8), labels)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(quadrants(Normalise(INFO.mean, INFO.sd)).state_dict(), path)
    return path


def bring(path, split, info=INFO, **settings):
    return import_model(path, External(checkpoint=str(path), **settings), Quadrants(), info, split, NOISE, 3)


def test_a_good_model_is_imported_without_a_word(checkpoint, test_split, capsys):
    network, notes = bring(checkpoint, test_split)
    assert notes["clean_accuracy"] == 1.0 and notes["noisy_accuracy"] > 0.9
    assert notes["images"] == 512
    assert notes["sha256"] == file_digest(checkpoint)
    assert notes["normalisation"] == {"from": "data", "mean": pytest.approx([0.3]), "sd": pytest.approx([0.2])}
    assert set(notes["alternatives"]) == {
        "none (model: normalise: none)",
        "centring only (mean: [0.3])",
        "to [-1, 1] (mean: [0.5], sd: [0.5])",
        "to 0 ... 255 (mean: [0.0], sd: [0.00392156862745098])",
    }
    assert "warning" not in notes and capsys.readouterr().err == ""
    assert not network.training


def test_a_normalisation_stated_for_pixels_to_255_is_told(checkpoint, test_split):
    notes = bring(checkpoint, test_split, mean=(76.5,), sd=(51.0,))[1]
    assert "as given, divided by 255 (mean: [0.3], sd: [0.2])" in notes["alternatives"]
    assert notes["warning"].endswith("(mean: [0.3], sd: [0.2])")


def test_noisy_accuracy_is_the_plain_count(checkpoint, test_split):
    """Against a loop over single images, each with its own draw."""
    network, notes = bring(checkpoint, test_split)
    index = torch.tensor([i * 600 // 512 for i in range(512)])
    noise = NOISE.sample(
        (1, 8, 8), Key(index, torch.zeros(512, dtype=torch.int64), seed=3, stream=Stream.TRAIN_EVALUATION)
    )
    right = 0
    for i, delta in zip(index.tolist(), noise, strict=True):
        x = torch.tensor(test_split.pixels[i] / 255, dtype=torch.float32)
        right += int(network((x + delta)[None]).argmax() == test_split.labels[i])
    assert right / 512 == notes["noisy_accuracy"]


@pytest.mark.parametrize("sigma", [0.2, 2.0])
@pytest.mark.parametrize("kind", ["ssn", "dssn"])
def test_a_model_for_noise_that_is_not_added_is_looked_at_under_it(checkpoint, test_split, kind, sigma):
    """The published models of splitting noise; their sigma is no scale of a noise that could have been meant otherwise."""
    noise = spec_class("noise", kind)(sigma=sigma)
    external = External(checkpoint=str(checkpoint))
    network, notes = import_model(checkpoint, external, Quadrants(), INFO, test_split, noise, 3)
    index = torch.tensor([i * 600 // 512 for i in range(512)])
    key = Key(index, torch.zeros(512, dtype=torch.int64), seed=3, stream=Stream.TRAIN_EVALUATION)
    copies = noise.copies(torch.tensor(test_split.pixels[index] / 255, dtype=torch.float32), key)
    right = network(copies).argmax(1).numpy() == test_split.labels[index]
    assert notes["noisy_accuracy"] == right.mean()
    assert not any("sigma" in name for name in notes["alternatives"])


@pytest.mark.parametrize("wrong", [{"mean": (0.0,), "sd": (1.0,)}, {"mean": (0.3,)}, {"mean": (0.5,), "sd": (0.5,)}])
def test_a_wrong_normalisation_is_shouted_with_the_right_one(checkpoint, test_split, capsys, wrong):
    network, notes = bring(checkpoint, test_split, **wrong)
    text = capsys.readouterr().err
    assert "WARNING" in text and str(checkpoint) in text
    assert "dataset's (mean: [0.3], sd: [0.2])" in notes["warning"]
    assert notes["alternatives"]["dataset's (mean: [0.3], sd: [0.2])"] > notes["noisy_accuracy"] + 0.1
    for accuracy in notes["alternatives"].values():
        assert f"{accuracy:6.1%}" in text
    # A warning, not an error: the model is imported as it was asked for.
    assert network[0].mean.item() == pytest.approx(wrong["mean"][0])
    assert network[0].sd.item() == pytest.approx(wrong.get("sd", (1.0,))[0])


def test_a_model_that_guesses_is_shouted(tmp_path, test_split, capsys):
    network = quadrants(Normalise(INFO.mean, INFO.sd))
    network[3].weight.data.zero_()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", test_split)
    assert "no better than guessing (25.0%), however it is normalised" in notes["warning"]
    assert "no better than guessing" in capsys.readouterr().err


def test_a_file_that_stores_its_normalisation_needs_no_settings(tmp_path, test_split):
    state = {f"1.{key}": value for key, value in quadrants(Normalise((0.4,), (0.5,))).state_dict().items()}
    torch.save({**state, "0.mean": torch.tensor([0.4]), "0.sd": torch.tensor([0.5])}, tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", test_split)
    assert notes["normalisation"]["from"] == "file" and notes["noisy_accuracy"] > 0.9 and "warning" not in notes


def test_logits_that_are_no_numbers_name_file_and_image(tmp_path, test_split):
    state = quadrants(Normalise(INFO.mean, INFO.sd)).state_dict()
    state["3.weight"] = state["3.weight"] * 3e38
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(NonFiniteError, match="w.pth: its logits on image 0 are NaN or infinite"):
        bring(tmp_path / "w.pth", test_split)


def test_logits_that_are_no_numbers_under_another_normalisation_are_only_misses(tmp_path, test_split):
    state = quadrants(Normalise((0.0,), (1e36,))).state_dict()
    state["3.weight"] = state["3.weight"] * 100
    torch.save(state, tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", test_split, mean=(0.0,), sd=(1e36,))
    assert notes["noisy_accuracy"] > 0.9 and "warning" not in notes
    assert set(notes["alternatives"].values()) == {0.0}


def test_other_classes_and_no_images_are_refused(checkpoint, test_split):
    with pytest.raises(ArtefactError, match="no such file"):
        bring(checkpoint.with_name("other"), test_split)
    with pytest.raises(ValueError, match="no images"):
        bring(checkpoint, ArraySplit(test_split.pixels[:0], test_split.labels[:0]))


def test_the_identity_is_the_content_and_not_the_place():
    one, other = External(checkpoint="a.pth", mean=(0.5,)), External(checkpoint="b.pth", mean=(0.5,))
    usual = {"weights": "auto", "outputs": None, "leave_out": []}
    assert one.canonical() == {"revision": 1, "kind": "external", "mean": [0.5], "sd": None, **usual}
    assert one.digest() == other.digest() != External(checkpoint="a.pth").digest()
    assert revive("method", one.canonical(), checkpoint="b.pth") == other
    assert not External.trains


def test_places_in_the_path_are_filled():
    pattern = "cohen/{noise}/noise_{sigma:.2f}/seed{seed}/checkpoint.pth.tar"
    assert (
        External(checkpoint=pattern).brought("gauss-0.5", 0.5, 3)["checkpoint"]
        == "cohen/gauss-0.5/noise_0.50/seed3/checkpoint.pth.tar"
    )
    assert External(checkpoint="x_{sigma}.pth").brought("n", 0.25, 0)["checkpoint"] == "x_0.25.pth"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checkpoint": "a/{epoch}.pth"}, r"unknown \{epoch\}; known: \{noise\}, \{sigma\}, \{seed\}"),
        ({"checkpoint": "a/{noise.__class__}.pth"}, "unknown"),
        ({"checkpoint": "a/{}.pth"}, "unknown"),
        ({"checkpoint": "a/{noise"}, "not a valid pattern"),
        ({"checkpoint": "a/{noise:.2f}"}, "not a valid pattern"),
        ({"checkpoint": ""}, "at least 1 character"),
        ({"checkpoint": "a", "sd": (1.0,)}, "sd is given without mean"),
        ({"checkpoint": "a", "mean": (0.5,), "sd": (0.0,)}, "1 numbers above 0"),
        ({"checkpoint": "a", "mean": (0.5,), "sd": (1.0, 1.0)}, "1 numbers above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        External(**fields)


def test_the_stage_stores_a_model_that_load_model_accepts(tmp_path, monkeypatch, capsys):
    from certflow.data.store import prepare
    from certflow.training.assembly import Files
    from certflow.training.stage import Outputs, make_model

    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    data, model = spec_class("dataset", "digits")(), spec("small_conv")
    prepare(data, tmp_path / "digits.json")
    torch.manual_seed(0)
    weights = model.backbone(data.info()).state_dict()
    torch.save({"state_dict": {f"1.{key}": value for key, value in weights.items()}}, tmp_path / "w.pth.tar")
    method = External(checkpoint="unused", mean=(0.5,), sd=(0.5,))
    wanted = {
        "dataset": data.canonical(),
        "model": model.architecture(),
        "method": method.canonical(),
        "noise": NOISE.canonical(),
        "seed": 0,
    }
    made = tmp_path / "model.safetensors"
    make_model(
        wanted,
        data,
        method,
        manifest=tmp_path / "digits.json",
        outputs=Outputs(made),
        device="cpu",
        files=Files(checkpoint=tmp_path / "w.pth.tar"),
    )
    loaded, record = load_model(
        made, model, data.info(), spec=wanted, parents={"checkpoint": file_digest(tmp_path / "w.pth.tar")}
    )
    assert loaded[0].sd.item() == 0.5
    assert all(torch.equal(value, loaded[1].state_dict()[key]) for key, value in weights.items())
    assert record.notes["images"] == 445 and record.notes["noisy_accuracy"] < 0.3
    assert "no better than guessing" in capsys.readouterr().err


def test_a_finished_model_needs_no_training_images(tmp_path, monkeypatch):
    from PIL import Image

    from certflow.data.store import prepare
    from certflow.training.assembly import Files
    from certflow.training.stage import Outputs, make_model

    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        place = tmp_path / "tree" / "test" / str(number % 2) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 60 * number).save(place)
    fields = {"classes": 2, "shape": [1, 8, 8], "only": "test", "root": str(tmp_path / "tree")}
    data, model = spec_class("dataset", "image_folder")(**fields), spec("small_conv")
    prepare(data, tmp_path / "mine.json")
    torch.save(model.backbone(data.info()).state_dict(), tmp_path / "w.pth")
    wanted = {
        "dataset": data.canonical(),
        "model": model.architecture(),
        "method": External(checkpoint="unused").canonical(),
        "noise": NOISE.canonical(),
        "seed": 0,
    }
    places = {"manifest": tmp_path / "mine.json", "outputs": Outputs(tmp_path / "model.safetensors")}
    files = Files(checkpoint=tmp_path / "w.pth")
    make_model(wanted, data, External(checkpoint="unused"), files=files, device="cpu", **places)
    assert load_model(places["outputs"].model, model, data.info(), spec=wanted)[1].notes["images"] == 4


def test_another_revision_is_refused():
    with pytest.raises(ConfigError, match="revision"):
        revive("method", {**External(checkpoint="a").canonical(), "revision": 0}, checkpoint="a")
