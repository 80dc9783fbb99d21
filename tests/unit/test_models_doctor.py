"""The doctor: what it finds in models that are wrong in a known way, and that it is silent about those that are right."""

import json
import re

import numpy as np
import pytest
import torch
from models_examples import ArraySplit, spec
from test_models_importing import INFO, NOISE, Quadrants, bring, quadrants

from certflow.data.base import DataInfo
from certflow.doors.cli import main
from certflow.kinds.registry import spec_class
from certflow.models import Normalise
from certflow.models.examination import examine
from certflow.models.findings import class_order, findings
from certflow.models.header import carried_warnings
from certflow.models.probing import Trial
from certflow.noise import Gaussian
from certflow.stats import mcnemar


@pytest.fixture(scope="module")
def split():
    """As in the tests of importing: 600 images, one quarter of each at level 0.7, the rest darker or brighter."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 4, 600))
    pixels = np.where(rng.random((600, 1, 8, 8)) < 0.5, 0.0, 1.0)
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.7
    return ArraySplit((pixels * 255).round().astype(np.uint8), labels)


def test_mcnemar_is_the_exact_binomial_test():
    from scipy.stats import binomtest

    for gains, losses in ((0, 0), (5, 0), (0, 5), (37, 8), (12, 12), (100, 60)):
        wanted = 1.0 if gains + losses == 0 else binomtest(gains, gains + losses).pvalue
        assert mcnemar(gains, losses) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def test_six_points_in_five_hundred_images_are_found():
    """95.1 % against 89.4 % under the same noise on the same images: far below ten points, and sure."""
    chosen = np.arange(512) < 458
    right = np.concatenate([np.ones(450, bool), np.zeros(8, bool), np.ones(37, bool), np.zeros(17, bool)])
    trial = Trial("to [-1, 1] (mean: [0.5], sd: [0.5])", right, chosen)
    assert (trial.gains, trial.losses) == (37, 8) and trial.p < 1e-4
    labels = np.zeros(512, np.int64)
    found = findings(labels, labels, np.where(chosen, 0, 1), [trial], 10, 0.25)
    assert found[0].warning and "right on 95.1% of noisy images instead of 89.5%" in str(found[0])
    assert "probably meant: to [-1, 1]" in str(found[0])
    assert findings(labels, labels, np.where(chosen, 0, 1), [Trial("other", chosen, right)], 10, 0.25) == []


def test_every_accuracy_is_on_the_page(tmp_path, split):
    torch.save({"state_dict": quadrants(Normalise(INFO.mean, INFO.sd)).state_dict(), "epoch": 3}, tmp_path / "w.pth")
    options = {"weights": "auto"}
    _, found = examine(tmp_path / "w.pth", options, Quadrants(), INFO, split, NOISE, 3)
    page = found.page()
    assert "archive of torch.save" in page and "Weights  state_dict" in page and "Beside   epoch" in page
    for trial in found.trials:
        assert f"{trial.accuracy:7.1%}  {trial.name}" in page
    assert "Nothing looks wrong." in page and found.warnings == []
    assert json.loads(json.dumps(found.notes())) == found.notes()


def test_another_class_order_is_found_and_nothing_else_is_blamed(tmp_path, split):
    network = quadrants(Normalise(INFO.mean, INFO.sd))
    network[3].weight.data = network[3].weight.data[torch.tensor([1, 2, 3, 0])]
    torch.save(network.state_dict(), tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", split)
    assert len(notes["warnings"]) == 1
    assert "its classes are in another order than the dataset's: right on 0.0%" in notes["warning"]
    assert "write outputs: [3, 0, 1, 2] in the method entry" in notes["warning"]
    _, mended = bring(tmp_path / "w.pth", split, outputs=[3, 0, 1, 2])
    assert mended["clean_accuracy"] == 1.0 and "warnings" not in mended


@pytest.mark.parametrize("label", [4, -1])
def test_a_label_that_is_not_a_class_is_refused_before_the_model_is_judged_by_it(tmp_path, split, label):
    """Labels from 1 on, or of another data set: no class order is found in them, and no array is indexed by them."""
    torch.save(quadrants(Normalise(INFO.mean, INFO.sd)).state_dict(), tmp_path / "w.pth")
    labels = split.labels.copy()
    labels[300] = label
    with pytest.raises(
        ValueError, match=f"300.*label {label} is not one of the model's 4 classes, which are numbered from 0"
    ):
        examine(tmp_path / "w.pth", {}, Quadrants(), INFO, ArraySplit(split.pixels, labels), NOISE, 3)


def test_folders_sorted_as_text_are_recognised():
    order = np.array(sorted(range(12), key=str))
    labels = np.repeat(np.arange(12), 5)
    found = findings(labels, order[labels], order[labels], [], 12, 0.25)
    assert "sorted as text" in str(found[0]) and "class_index: numbers" in str(found[0])


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_no_class_order_is_found_in_guesses(classes):
    """A fixed seed; each of 100 looks errs with probability below 2e-4."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        labels = rng.integers(0, classes, 200)
        assert class_order(labels, rng.integers(0, classes, 200), classes) is None
        assert class_order(labels, labels, classes) is None


def test_some_outputs_of_a_model_become_the_classes(tmp_path):
    torch.manual_seed(0)
    small = spec("small_conv", normalise="none")
    network = small.backbone(DataInfo(12, (1, 8, 8))).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    from certflow.models.published import load_weights

    info = DataInfo(3, (1, 8, 8))
    found = load_weights(tmp_path / "w.pth", small, info, classes=3, outputs=[9, 2, 5]).module
    x = torch.rand(5, 1, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(found(x), network(x)[:, [9, 2, 5]], atol=1e-6)
    for outputs, message in (([0, 1], "lists 2 numbers"), ([0, 1, 12], "from 0 to 11"), ([1, 1, 2], "different")):
        with pytest.raises(ValueError, match=message):
            load_weights(tmp_path / "w.pth", small, info, classes=3, outputs=outputs)


def test_pixels_from_0_to_255_are_recognised(tmp_path, split):
    torch.save(quadrants(Normalise((0.0,), (1 / 255,))).state_dict(), tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", split)
    assert "to 0 ... 255 (mean: [0.0], sd: [0.00392156862745098])" in notes["warning"]


def test_a_sigma_on_the_scale_of_bytes_is_recognised(tmp_path, split):
    torch.save(quadrants(Normalise(INFO.mean, INFO.sd)).state_dict(), tmp_path / "w.pth")
    _, found = examine(tmp_path / "w.pth", {}, Quadrants(), INFO, split, Gaussian(sigma=64.0), 3)
    assert "noise of sigma 0.251 (sigma was meant on the scale of 0 ... 255)" in found.warnings[0]


class Reddest(spec_class("model", "small_conv")):
    """Which channel is brightest."""

    def backbone(self, info):
        return reddest()


def reddest():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 3))
    with torch.no_grad():
        network[1].weight[:] = torch.eye(3).repeat_interleave(64, dim=1)
        network[1].bias.zero_()
    return network


def test_blue_before_red_is_recognised(tmp_path):
    """Class 0 is more often red, class 2 blue; a model that takes them the other way round, but knows the classes."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 400)
    pixels = rng.integers(0, 200, (400, 3, 8, 8), dtype=np.uint8)
    pixels[np.arange(400), labels] = np.minimum(pixels[np.arange(400), labels] + 20, 255)
    network, info = reddest(), DataInfo(3, (3, 8, 8))
    network[1].weight.data = network[1].weight.data.reshape(3, 3, 64).flip(1).reshape(3, 192)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    _, found = examine(tmp_path / "w.pth", {}, Reddest(normalise="none"), info, ArraySplit(pixels, labels), NOISE, 0)
    blue = next(trial for trial in found.trials if trial.name.startswith("blue before red"))
    assert blue.accuracy > found.noisy_accuracy + 0.3 and blue.p < 1e-4
    assert found.warnings


def test_other_sets_of_weights_are_tried(tmp_path, split):
    good = quadrants(Normalise(INFO.mean, INFO.sd)).state_dict()
    bad = {name: tensor * 0 for name, tensor in good.items()}
    torch.save({"state_dict": bad, "state_dict_ema": good}, tmp_path / "w.pth")
    _, notes = bring(tmp_path / "w.pth", split)
    assert "other weights (weights: 'state_dict_ema')" in notes["warning"]
    _, mended = bring(tmp_path / "w.pth", split, weights="ema")
    assert mended["averaged_weights"] and mended["other_weights"] == ["state_dict"] and "warnings" not in mended


def test_warnings_are_carried_once():
    from certflow.files.provenance import Provenance

    records = [
        Provenance("model", {}, notes={"warnings": ["a", "b"]}),
        Provenance("model", {}, notes={"warnings": ["b"]}),
    ]
    assert carried_warnings(*records) == {"model_warnings": ["a", "b"]}
    again = Provenance("model", {}, notes=carried_warnings(*records))
    assert carried_warnings(again) == {"model_warnings": ["a", "b"]}
    assert carried_warnings(Provenance("model", {})) == {}


def test_the_command_prints_page_json_and_errors(tmp_path, capsys):
    model, network = '{"kind": "small_conv", "normalise": "none"}', spec("small_conv")
    torch.manual_seed(0)
    torch.save({"state_dict": network.backbone(DataInfo(10, (1, 8, 8))).state_dict()}, tmp_path / "w.pth")
    assert main(["doctor", str(tmp_path / "w.pth")]) == 0
    assert "Tensors  state_dict: 16 (conv1.weight" in capsys.readouterr().out
    command = ["doctor", str(tmp_path / "w.pth"), "--arch", model, "--dataset", "digits"]
    assert main(command) == 3
    assert "no better than guessing" in capsys.readouterr().out
    assert main([*command, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["images"] == 445
    for some in (command[:4], [*command[:2], *command[4:]], [*command[:2], "--json"]):
        assert main(some) == 1
        assert "--arch, --dataset: to examine a model give both" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "none.pth"), *command[2:]]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_look_goes_on_where_another_way_seems_better(tmp_path, split, monkeypatch):
    from certflow.models import probing

    monkeypatch.setattr(probing, "EFFORT", 0)
    torch.save(quadrants(Normalise(INFO.mean, INFO.sd)).state_dict(), tmp_path / "w.pth")
    _, wrong = examine(tmp_path / "w.pth", {"mean": (0.3,)}, Quadrants(), INFO, split, NOISE, 3)
    looked = {trial.name: len(trial.right) for trial in wrong.trials}
    assert wrong.images == 64 and looked["dataset's (mean: [0.3], sd: [0.2])"] == 512
    assert "paired test on 512 images" in wrong.warnings[0]
    _, right = examine(tmp_path / "w.pth", {}, Quadrants(), INFO, split, NOISE, 3)
    assert {len(trial.right) for trial in right.trials} == {64} and right.warnings == []  # all fall behind at once


def test_outputs_and_means_must_fit_the_data():
    from types import SimpleNamespace

    study = SimpleNamespace(datasets={"data": SimpleNamespace(info=lambda: DataInfo(3, (3, 8, 8)))})
    external = spec_class("method", "external")
    wrong = external(checkpoint="a", outputs=[0, 1], mean=(0.5, 0.5))
    assert [line.partition(":")[0] for line in wrong.pairing_problems(study, "data", "net", "n")] == [
        "outputs",
        "mean",
    ]
    assert external(checkpoint="a", outputs=[0, 1, 5]).pairing_problems(study, "data", "net", "n") == []


FORGED = "\x1b[2J\x1b[31mfc\nFile     checked: safe\u202e"


def test_names_in_a_file_cannot_command_a_terminal_nor_write_lines_of_the_page(tmp_path, capsys, split):
    network = quadrants(Normalise(INFO.mean, INFO.sd))
    content = {f"{FORGED}weights": network.state_dict(), f"{FORGED}epoch": 3}
    torch.save(content, tmp_path / "w.pth")
    pages = [examine(tmp_path / "w.pth", {}, Quadrants(), INFO, split, NOISE, 3)[1].page()]
    torch.save({FORGED: torch.zeros(2), "b": torch.zeros(1)}, tmp_path / "w.pth")
    assert main(["doctor", str(tmp_path / "w.pth")]) == 0
    pages.append(capsys.readouterr().out)
    arch = ["--arch", '{"kind": "small_conv"}', "--dataset", "digits"]
    assert main(["doctor", str(tmp_path / "w.pth"), *arch]) == 1
    for shown in (*pages, capsys.readouterr().err):
        assert all(line.isprintable() for line in shown.split("\n")) and r"\x1b[2J\x1b[31mfc" in shown, shown
    for page in pages:
        assert len(re.findall("^File ", page, re.MULTILINE)) == 1, page
