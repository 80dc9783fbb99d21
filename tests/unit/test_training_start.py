"""Training that starts from a checkpoint: whose weights, under which normalisation, and what the result says about it."""

from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from training_examples import TRAINABLE

from certflow.data.base import DataInfo
from certflow.data.store import content_digest, prepare
from certflow.errors import ArtefactError
from certflow.files.artefact import read_provenance
from certflow.files.intact import file_digest
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import build, save_model
from certflow.models.header import read_header
from certflow.models.starting import start_from
from certflow.training.assembly import Files, own_weights
from certflow.training.loop import TrainingResult
from certflow.training.stage import Outputs, make_model

DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
NOISE = spec_class("noise", "gaussian")(sigma=0.25)
CENTRED = DataInfo(10, (1, 8, 8), mean=(0.3,))
SCALED = DataInfo(10, (1, 8, 8), mean=(0.3,), sd=(0.2,))


def network(info=None, seed=3):
    torch.manual_seed(seed)
    module = build(MODEL, info or DIGITS.info())
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return module


def state(module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if name.startswith("1.")}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Digits prepared, and one network as a file of ours (`ours.safetensors`) and as others write it (`theirs.pth`)."""
    folder = tmp_path_factory.mktemp("start")
    prepare(DIGITS, folder / "digits.json")
    save_model(folder / "ours.safetensors", network(), Provenance(format="model", spec={}))
    theirs = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    torch.save({"epoch": 90, "state_dict": theirs}, folder / "theirs.pth")
    return folder


@pytest.mark.parametrize("name", ["ours.safetensors", "theirs.pth"])
def test_every_weight_and_running_average_is_taken_over(home, name):
    module = network(seed=4)
    assert not same(state(module), state(network()))
    facts = start_from(module, home / name, MODEL, DIGITS.info())
    assert same(state(module), state(network()))
    assert facts == {"checkpoint": str(home / name), "sha256": file_digest(home / name)}


def test_the_network_keeps_its_own_normalisation_and_says_so(tmp_path, capsys):
    save_model(tmp_path / "scaled.safetensors", network(SCALED), Provenance(format="model", spec={}))
    module = network(CENTRED, seed=4)
    facts = start_from(module, tmp_path / "scaled.safetensors", MODEL, CENTRED)
    assert same(state(module), state(network(SCALED)))
    assert module[0].sd.item() == 1.0
    assert "trained behind the normalisation mean=[0.3" in facts["note"] and facts["note"] in capsys.readouterr().err
    assert "note" not in start_from(network(SCALED), tmp_path / "scaled.safetensors", MODEL, SCALED)


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


def test_files_of_no_use_are_refused_and_nothing_in_them_is_run(home, tmp_path, capsys):
    torch.save({"state_dict": Malicious()}, tmp_path / "pickled.pth")
    torch.save(build(MODEL, DataInfo(4, (1, 8, 8))).state_dict(), tmp_path / "four.pth")
    for name, message in (("none.pth", "no such file"), ("pickled.pth", "refused"), ("four.pth", "4 classes")):
        with pytest.raises(ArtefactError, match=message):
            start_from(network(), tmp_path / name, MODEL, DIGITS.info())
    assert "run" not in capsys.readouterr().out


def train(home: Path, folder: Path, *, checkpoint: Path | None, fine_tuned: bool = True, **fields) -> Path:
    method = spec_class("method", "gaussian")(epochs=1, batch=300, **fields)
    spec = {
        "dataset": DIGITS.canonical(),
        "model": MODEL.architecture(),
        "method": method.canonical(),
        "noise": NOISE.canonical(),
        "seed": 0,
    }
    make_model(
        {**spec, "fine_tuned": True} if fine_tuned else spec,
        DIGITS,
        method,
        manifest=home / "digits.json",
        outputs=Outputs(folder / "model.safetensors", folder / "training.tsv"),
        device="cpu",
        files=Files(checkpoint=checkpoint),
    )
    return folder / "model.safetensors"


def test_training_goes_on_from_the_checkpoint_and_names_it(home, tmp_path):
    found = train(home, tmp_path, checkpoint=home / "theirs.pth", lr=1e-9)
    moved = load_file(found)
    for name, parameter in network().named_parameters():
        assert torch.allclose(moved[name], parameter, rtol=0, atol=1e-5), name
    record, _ = read_header(found)
    assert record.parents == {"data": content_digest(home / "digits.json"), "start": file_digest(home / "theirs.pth")}
    assert record.spec["fine_tuned"] is True and record.notes["start"]["checkpoint"] == str(home / "theirs.pth")
    log = read_provenance(tmp_path / "training.tsv")
    assert (log.format, log.spec, log.parents) == ("training log", record.spec, record.parents)
    fresh, _ = read_header(train(home, tmp_path / "fresh", checkpoint=None, fine_tuned=False, lr=1e-9))
    assert "start" not in fresh.parents and "start" not in fresh.notes


def test_weights_that_a_library_fetches_are_what_a_model_is_made_from():
    """Others under the same name give another model, which the record of either tells."""
    kind, module = spec_class("model", "timm"), network()
    fetched = SimpleNamespace(spec={}, architecture=lambda: kind(name="resnet10t", pretrained=True))
    before = own_weights(fetched, module)
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 1
    assert before.keys() == {"weights"} and own_weights(fetched, module) != before
    drawn = SimpleNamespace(spec={}, architecture=lambda: kind(name="resnet10t"))
    assert own_weights(drawn, module) == {}


def test_records_state_the_versions_of_the_libraries_that_build_networks():
    found = Provenance(format="model", spec={}).versions
    assert all(found[name] == version(name) for name in ("torch", "timm", "diffusers"))


def test_what_is_wrong_with_a_network_goes_with_its_model(home, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "certflow.training.stage.train", lambda *_, **__: TrainingResult([], {"threads": 1}, ["it died"])
    )
    record, _ = read_header(train(home, tmp_path, checkpoint=home / "theirs.pth"))
    assert record.notes["warnings"] == ["it died"] and record.notes["threads"] == 1 and "start" in record.notes


@pytest.mark.parametrize(("fine_tuned", "name"), [(True, None), (False, "theirs.pth")])
def test_specification_and_checkpoint_belong_together(home, tmp_path, fine_tuned, name):
    with pytest.raises(ValueError, match="if and only if"):
        train(home, tmp_path, checkpoint=name and home / name, fine_tuned=fine_tuned)


"""What is put together from other entries starts from those."""


@pytest.mark.parametrize("kind", TRAINABLE)
def test_every_trained_method_can_start_from_a_file(kind):
    cls = spec_class("method", kind)
    assert "start_from" not in cls.small(start_from="a/{noise}/{sigma:.2f}/{seed}.pth").canonical()
    for wrong in ("", "{sigma", "{size}", "{sigma:x}"):
        with pytest.raises(ValidationError):
            cls.small(start_from=wrong)
