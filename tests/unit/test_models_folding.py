"""Folding: the same function, fewer layers; and nothing folded that must not be."""

import copy

import pytest
import torch
from models_examples import CIFAR, DIGITS, MNIST, images, randomise, spec
from torch import nn

from certflow.data.base import DataInfo
from certflow.models import FoldedModel, Normalise, build, fold

GREY = DataInfo(10, (1, 28, 28), mean=(0.13,), sd=(0.31,))
LARGE = DataInfo(50, (3, 64, 64), mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))

MODELS = [
    ("lenet", {}, MNIST, 0),
    ("lenet", {}, GREY, 0),
    ("mnist_43", {}, GREY, 0),
    ("small_conv", {}, DIGITS, 0),
    ("cifar_resnet", {"depth": 20}, CIFAR, 0),
    ("cifar_resnet", {"depth": 110}, CIFAR, 0),
    ("wide_resnet", {"depth": 16, "width": 2}, CIFAR, 6),
    ("resnet50", {}, LARGE, 0),
    ("timm", {"name": "mobilenetv3_small_050"}, LARGE, 0),
]
"""Kind, settings, data, and how many batch normalisations must be left (WRN: those that follow an addition)."""


def norms(module):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


@pytest.mark.parametrize(("kind", "fields", "info", "left"), MODELS)
def test_folded_networks_compute_the_same(kind, fields, info, left):
    torch.manual_seed(1)
    network = randomise(build(spec(kind, **fields), info))
    folded = fold(network)
    assert norms(folded) == left
    assert folded.folded == (norms(network) > left or info.mean is not None)
    if info.mean is not None:
        assert torch.equal(folded.shift.flatten(), torch.tensor(info.mean))
        assert not any(isinstance(layer, Normalise) for layer in folded.modules())
    x = images(4 if info is LARGE else 32, info.shape)
    with torch.inference_mode():
        wanted, found = network(x), folded(x)
        assert float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())
        # An engine subtracts the shift from the clean image once and adds noise afterwards.
        shifted = x if folded.shift is None else x - folded.shift
        assert torch.equal(folded.network(shifted), found)


@pytest.mark.parametrize(
    ("kind", "fields", "info", "count"),
    [("small_conv", {}, DIGITS, 10_000), ("lenet", {}, GREY, 3_000), ("cifar_resnet", {"depth": 8}, CIFAR, 1_000)],
)
def test_predictions_stay_the_same_on_thousands_of_images(kind, fields, info, count):
    network = randomise(build(spec(kind, **fields), info))
    last = network[1].fc if kind == "cifar_resnet" else network[1].fc2
    x = images(count, info.shape, seed=1)
    with torch.inference_mode():
        # Random networks favour one class; centred logits spread the predictions over all of them.
        last.bias.sub_(network(x[:200]).mean(0))
        folded = fold(network)
        wanted, found = (torch.cat([f(part).argmax(1) for part in x.split(100)]) for f in (network, folded))
    assert len(wanted.unique()) > 5
    assert torch.equal(found, wanted)


def test_the_module_itself_is_not_changed():
    network = build(spec("cifar_resnet", depth=8), CIFAR).train()
    before = copy.deepcopy(network.state_dict())
    folded = fold(network)
    assert network.training and not any(part.training for part in folded.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert norms(network) == 9
    with torch.no_grad():
        network[1].fc.weight.zero_()
    assert bool(folded.network[1].fc.weight.any())


def test_affine_free_normalisation_and_biased_convolutions_fold():
    network = randomise(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.LazyLinear(5))
    )
    network(images(1, (3, 8, 8)))
    folded = fold(network)
    assert norms(folded) == 0
    x = images(32, (3, 8, 8))
    torch.testing.assert_close(folded(x), network(x), rtol=1e-5, atol=1e-5)


def test_zero_padding_with_a_mean_is_exact_at_the_borders():
    """The mean cannot go into the bias: a padded pixel is 0 after normalisation, not before it."""
    network = nn.Sequential(Normalise((0.5,), (0.1,)), nn.Conv2d(1, 1, 3, padding=1, bias=False)).eval()
    with torch.no_grad():
        network[1].weight.fill_(1.0)
    folded = fold(network)
    out = folded(torch.ones(1, 1, 4, 4))[0, 0]
    torch.testing.assert_close(out[0, 0].item(), 4 * 5.0)
    torch.testing.assert_close(out[1, 1].item(), 9 * 5.0)


class Shared(nn.Module):
    """One normalisation after two convolutions, a convolution read twice, one called twice."""

    def __init__(self, case):
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.case = case

    def forward(self, x):
        if self.case == "norm used twice":
            return (self.norm(self.one(x)) + self.norm(self.two(x))).mean((2, 3))
        if self.case == "output read twice":
            y = self.one(x)
            return (self.norm(y) + y).mean((2, 3))
        y = self.one(x)
        return (self.norm(y) + self.other(self.one(y))).mean((2, 3))


@pytest.mark.parametrize("case", ["norm used twice", "output read twice", "convolution used twice"])
def test_what_has_a_second_reader_is_left_alone(case):
    network = randomise(Shared(case))
    folded = fold(network)
    assert norms(folded) == 2 and not folded.folded
    x = images(4, (3, 8, 8))
    assert torch.equal(folded(x), network(x))


def test_an_image_that_is_read_twice_keeps_its_normalisation():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.normalise, self.conv = Normalise((0.5,) * 3, (0.2,) * 3), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return (self.conv(self.normalise(x)) + x).mean((2, 3))

    network = Skip().eval()
    folded = fold(network)
    assert folded.shift is None
    x = images(4, (3, 8, 8))
    assert torch.equal(folded(x), network(x))


def test_normalisation_without_running_statistics_and_hooked_layers_are_left_alone():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()).eval()
    assert norms(fold(plain)) == 1
    hooked = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    hooked[0].register_forward_hook(lambda layer, inputs, output: output * 2)
    assert norms(fold(hooked)) == 1


def test_a_network_that_cannot_be_traced_is_left_as_it_is():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x)).mean((2, 3))
            return y if y.sum() > 0 else 2 * y

    network = randomise(Branching())
    folded = fold(network)
    assert isinstance(folded, FoldedModel) and norms(folded) == 1 and not folded.folded
    x = images(4, (3, 8, 8))
    assert torch.equal(folded(x), network(x))


def test_double_precision_is_not_needed_but_half_is_widened():
    network = randomise(build(spec("small_conv"), DIGITS))
    folded = fold(copy.deepcopy(network).to(torch.bfloat16))
    assert {p.dtype for p in folded.parameters()} == {torch.float32}
    x = images(16, DIGITS.shape)
    torch.testing.assert_close(folded(x), copy.deepcopy(network).to(torch.bfloat16).float()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_folding_works_where_the_network_is():
    network = randomise(build(spec("cifar_resnet", depth=20), CIFAR)).cuda()
    folded = fold(network)
    assert {p.device.type for p in folded.parameters()} == {"cuda"} and folded.shift.device.type == "cuda"
