"""The normalisation layer."""

import pytest
import torch
from models_examples import CIFAR, images, spec

from certflow.data.base import DataInfo
from certflow.models import Normalise, build


def test_it_subtracts_and_divides_per_channel():
    x = images(2, (3, 4, 5))
    y = Normalise((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))(x)
    for channel, (mean, sd) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        torch.testing.assert_close(y[:, channel], (x[:, channel] - mean) / sd)


def test_without_statistics_it_is_the_identity_and_stores_nothing():
    x = images(2, (3, 4, 4))
    assert Normalise()(x) is x
    assert Normalise().state_dict() == {}
    for network in (
        build(spec("small_conv"), DataInfo(10, (1, 8, 8))),
        build(spec("cifar_resnet", depth=8, normalise="none"), CIFAR),
    ):
        assert all(key.startswith("1.") for key in network.state_dict())


def test_a_mean_alone_centres():
    x = images(2, (3, 4, 4))
    layer = Normalise((0.4, 0.5, 0.6))
    assert torch.equal(layer(x), x - layer.mean)
    assert layer.state_dict()["sd"].flatten().tolist() == [1, 1, 1]


def test_statistics_are_buffers_of_one_value_per_channel():
    network = build(spec("cifar_resnet", depth=8), CIFAR)
    state = network.state_dict()
    assert state["0.mean"].shape == state["0.sd"].shape == (3, 1, 1)
    assert "0.mean" not in dict(network.named_parameters())
    assert torch.equal(state["0.sd"].flatten(), torch.tensor(CIFAR.sd))


@pytest.mark.parametrize(
    ("mean", "sd", "message"),
    [
        (None, (0.5,), "by sd alone"),
        ((0.5,), (0.5, 0.5), "1 means but 2"),
        ((0.5,), (0.0,), "must be above 0"),
        ((0.5,), (float("nan"),), "must be above 0"),
        ((0.5,), (float("inf"),), "above 0 and finite"),
        ((float("nan"),), (0.5,), "means must be finite"),
        ((float("-inf"),), None, "means must be finite"),
    ],
)
def test_impossible_statistics_are_refused(mean, sd, message):
    with pytest.raises(ValueError, match=message):
        Normalise(mean, sd)


def test_images_of_another_number_of_channels_are_refused():
    layer = Normalise([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="images of 1 channels cannot be normalised by 3 means"):
        layer(torch.zeros(2, 1, 4, 4))
    assert Normalise([0.5])(torch.ones(2, 3, 4, 4)).eq(0.5).all()
