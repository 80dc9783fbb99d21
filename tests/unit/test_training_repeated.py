"""What training does on a GPU, on the CPU: a step noted once an epoch and repeated on the same memory."""

from unittest import mock

import numpy as np
import pytest
import torch
from tape import record_steps
from training_examples import TRAINABLE, network, patterns, timeless, weights

from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.training import train
from certflow.training.denoisers.ranges import RangeTraining
from certflow.training.fast import repeated

COMMON = {"epochs": 2, "lr": 0.05, "schedule": "one_cycle", "batch": 12}
MORE = {"gaussian": {"nesterov": True}}
"""Kind → what its small instance leaves untried."""


@pytest.fixture
def recordings(monkeypatch):
    """Steps are repeated from recordings, as on a GPU. What was recorded, one item for each recording."""
    return record_steps(monkeypatch, 4)


def run(method, noise=None, model=None, data=None):
    model, data = model or network(dropout=0.0), data or patterns(train=60, test=20)
    table = 0.8 * np.eye(10, dtype=np.float32)[data[0].labels] + 0.02
    noise = noise or Gaussian(sigma=0.25)
    result = train(method, model, *data, noise=noise, seed=3, quiet=True, tables=dict.fromkeys(method.tables, table))
    return weights(model), timeless(result.rows)


def plainly(*arguments, **options):
    """The same without recordings."""
    with mock.patch.object(repeated, "FEWEST_STEPS", 10**9):
        return run(*arguments, **options)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_repeated_steps_train_to_the_same_bits(kind, recordings):
    method = spec_class("method", kind).small(**COMMON, **MORE.get(kind, {}))
    found = run(method)
    recorded = 2 if method.repeats else 0  # one for each epoch: radii, rates and draws change
    assert len(recordings) == recorded
    assert found == plainly(method)
    assert len(recordings) == recorded


def test_dropout_is_drawn_anew_in_every_step(recordings):
    method = spec_class("method", "gaussian")(**COMMON)
    assert run(method, model=network(dropout=0.5)) == plainly(method, model=network(dropout=0.5))
    assert len(recordings) == 2


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_noise_that_warms_up_is_never_that_of_another_step(unit, recordings):
    length = 1 if unit == "epoch" else 7
    method = spec_class("method", "gaussian")(**{**COMMON, "epochs": 3}, noise_warmup=length, noise_warmup_unit=unit)
    law = GeneralizedGaussian(k=20, sigma=0.25)
    assert run(method, noise=law) == plainly(method, noise=law)
    assert recordings


def test_a_denoiser_and_its_average_are_trained_to_the_same_bits(recordings):
    from certflow.data.base import DataInfo
    from certflow.training.denoisers.restoration import Restorer

    def restorer():
        torch.manual_seed(0)
        spec = spec_class("denoiser", "dncnn")(depth=3, width=4)
        return Restorer(spec.build(DataInfo(10, (1, 8, 8)), 0.5))

    method = RangeTraining(epochs=2, batch=12, average=0.9, lr=1e-3)
    assert run(method, model=restorer()) == plainly(method, model=restorer())
    assert len(recordings) == 2


def test_methods_that_look_at_values_or_take_turns_are_not_recorded(recordings):
    run(spec_class("method", "catrs")(**COMMON, noises=2, steps=1, attack_only_masked=True))
    assert recordings == []
    classifier = {"method": "m", "noise": "n"}
    denoised = {"denoiser": "d", "classifier": classifier, "objective": "stability"}
    assert spec_class("method", "denoised")(**denoised).repeats
    assert not spec_class("method", "denoised")(**denoised, surrogates=[classifier]).repeats


def test_few_steps_are_not_worth_a_recording(recordings, monkeypatch):
    monkeypatch.undo()
    assert repeated.FEWEST_STEPS > 6
    run(spec_class("method", "gaussian")(**COMMON))
    assert recordings == []


def test_a_step_that_cannot_be_recorded_goes_on_as_it_is(recordings, capsys):
    class Reading(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(dropout=0.0)

        def forward(self, x):
            return self.inner(x) * (1.0 if x.detach().abs().max().item() >= 0 else 2.0)

    method = spec_class("method", "gaussian")(**COMMON)
    assert run(method, model=Reading()) == plainly(method, model=Reading())
    assert recordings == [] and capsys.readouterr().err.count("no CUDA graph") == 1
