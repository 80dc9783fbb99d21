"""Training stages use the run's own seed: for initial weights, for all draws, and in the key of what they resume from.

Columns that pool seeds, and spreads over seeds, take them for independent.
"""

from types import SimpleNamespace

import pytest
import torch
from stage_examples import DIGITS, Home

from certflow.files.tensorfile import read_tensors
from certflow.kinds.registry import spec_class
from certflow.training import stage as training_stage
from certflow.training.denoisers import stage as denoising_stage
from certflow.training.loop import TrainingResult

METHOD = spec_class("method", "gaussian")(epochs=1)


class Trainings:
    """Stands for the training loop: notes what it was given, and trains nothing."""

    def __init__(self):
        self.calls: list[SimpleNamespace] = []

    def __call__(self, method, module, train, test, **options):
        weights = torch.cat([part.detach().flatten() for part in module.parameters()]).clone()
        self.calls.append(SimpleNamespace(weights=weights, **options))
        return TrainingResult([])


@pytest.fixture
def trainings(monkeypatch) -> Trainings:
    found = Trainings()
    monkeypatch.setattr(training_stage, "train", found)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("seeds")).prepared()


def check(first: SimpleNamespace, again: SimpleNamespace, other: SimpleNamespace) -> None:
    """Two trainings of seed 7 and one of seed 0."""
    assert (first.seed, again.seed, other.seed) == (7, 7, 0)
    assert torch.equal(first.weights, again.weights) and not torch.equal(first.weights, other.weights)
    assert first.digest == again.digest != other.digest


def test_models_are_trained_from_their_own_seed(home, tmp_path, trainings):
    for number, seed in enumerate((7, 7, 0)):
        spec = {key: value for key, value in home.spec.items() if key not in ("engine", "model")}
        spec |= {"seed": seed, "model": spec_class("model", "small_conv")().architecture()}
        paths = {"model": tmp_path / f"{number}.safetensors", "log": tmp_path / f"{number}.tsv"}
        manifest = home.given["manifest"]
        outputs = training_stage.Outputs(**paths)
        training_stage.make_model(spec, DIGITS, METHOD, manifest=manifest, outputs=outputs, device="cpu")
        assert read_tensors(paths["model"])[-1].spec["seed"] == seed
    check(*trainings.calls)


def test_denoisers_are_trained_from_their_own_seed(home, tmp_path, trainings):
    denoiser = spec_class("denoiser", "dncnn")(depth=3, width=4, train={"epochs": 1, "sigma_range": (0.0, 0.5)})
    for number, seed in enumerate((7, 7, 0)):
        spec = {"dataset": DIGITS.canonical(), "denoiser": denoiser.canonical(), "seed": seed}
        paths = {"model": tmp_path / f"{number}.safetensors", "log": tmp_path / f"{number}.tsv"}
        denoising_stage.train_denoiser(spec, DIGITS, manifest=home.given["manifest"], device="cpu", **paths)
    check(*trainings.calls)
