"""A classifier that is no better than chance is told of, in the log and wherever its model goes."""

import numpy as np
import pytest
import torch
from training_examples import network, patterns

from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.chance import chance, no_better
from certflow.training.kinds.gaussian import Gaussian


def dead() -> torch.nn.Module:
    """No unit ever fires, so that the answer is one class whatever the image."""
    model = network()
    torch.nn.init.zeros_(model[1].weight)
    torch.nn.init.constant_(model[1].bias, -1.0)
    return model


def test_chance_is_the_commonest_class_and_two_standard_errors():
    labels = np.repeat([0, 1, 2], [50, 25, 25])
    assert chance(labels) == pytest.approx(0.6)
    assert chance(np.tile(labels, 100)) == pytest.approx(0.51)
    assert chance(np.zeros(5, int)) == 1
    assert no_better(1.0, chance(np.zeros(5, int))) == ""  # of one class nothing can be told


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1], [0] * 9 + [1], [0, 1]])
def test_a_network_that_is_always_right_is_better_however_few_images_there_are(labels):
    assert no_better(1.0, chance(np.array(labels))) == ""


def test_what_is_better_or_does_not_classify_is_fine():
    assert no_better(None, 0.6) == no_better(0.61, 0.6) == ""
    assert no_better(0.1135, 0.12).startswith("11.3% of the noisy test set is right")


def test_a_network_that_learns_nothing_is_told_of(capfd):
    found = train(
        Gaussian(epochs=2, lr=0.01), dead(), *patterns(), noise=GaussianNoise(sigma=0.25), seed=0, description="dead"
    )
    assert len(found.warnings) == 1 and "learnt nothing" in found.warnings[0]
    said = capfd.readouterr().err
    assert "epoch 0: " in said and "epoch 1: " in said and found.warnings[0] in said


def test_a_network_that_learns_is_not():
    found = train(
        Gaussian(epochs=6, batch=32, lr=0.05),
        network(),
        *patterns(),
        noise=GaussianNoise(sigma=0.1),
        seed=0,
        quiet=True,
    )
    assert found.rows[-1]["test_accuracy"] > 0.5 and not found.warnings
