"""Group normalisation of channels-last images: the function of torch's, where torch is slow and where it is not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from certflow.models.base import Inference
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast import group_norm
from certflow.sampling.fast.group_norm import ChannelsLastGroupNorm, replace_group_norms
from certflow.sampling.fast.steps import steps
from certflow.sampling.form import Form

SHAPES = [(8, 16, 8, 7, 7), (3, 6, 3, 5, 9), (5, 12, 1, 4, 4), (1, 8, 8, 1, 3), (2, 8, 4, 32, 32)]
"""Rows, channels, groups, height, width; the last is large enough for torch's own."""


def made(channels: int, groups: int, affine: bool = True) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, channels, affine=affine)
    if affine:
        nn.init.normal_(norm.weight, 1.0)
        nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


def images(*shape: int, mean: float = 0.0) -> torch.Tensor:
    return (torch.randn(shape) + mean).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("activation", [None, nn.SiLU(inplace=True)])
def test_it_is_group_normalisation(shape, affine, activation):
    torch.manual_seed(0)
    rows, channels, groups, height, width = shape
    norm, x = made(channels, groups, affine), images(rows, channels, height, width, mean=3.0)
    wanted = F.group_norm(x.double(), groups, *(w.double() for w in norm.parameters()), eps=norm.eps)
    wanted = wanted if activation is None else F.silu(wanted)
    before, found = x.clone(), ChannelsLastGroupNorm(norm, activation)(x)
    torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=2e-5)
    assert torch.equal(x, before)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_large_mean_costs_no_more_digits_than_the_input_lost():
    torch.manual_seed(0)
    norm, x = made(8, 4), images(4, 8, 6, 6, mean=3000.0)
    wanted = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), eps=norm.eps)
    torch.testing.assert_close(ChannelsLastGroupNorm(norm)(x).double(), wanted, rtol=1e-3, atol=1e-3)


def test_bfloat16_is_rounded_once_at_the_end():
    torch.manual_seed(0)
    norm, x = made(16, 8).to(torch.bfloat16), images(8, 16, 7, 7).to(torch.bfloat16)
    exact = F.silu(F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double(), eps=norm.eps))
    found = ChannelsLastGroupNorm(norm, nn.SiLU(inplace=True))(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-5)


def test_rows_that_do_not_fit_the_cache_together_give_the_same(monkeypatch):
    torch.manual_seed(0)
    norm, x = ChannelsLastGroupNorm(made(8, 4)), images(7, 8, 5, 5)
    whole = norm(x)
    monkeypatch.setattr(group_norm, "VALUES", 3 * 8 * 25)
    torch.testing.assert_close(norm(x), whole, rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(group_norm, "VALUES", 1)
    torch.testing.assert_close(norm(x), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("room, images_at_a_time", [(1, [1] * 7), (2 * 200 - 1, [1] * 7), (3 * 200, [3, 3, 1])])
def test_as_many_images_are_worked_on_at_a_time_as_there_is_room_for_and_one_at_least(
    monkeypatch, room, images_at_a_time
):
    norm, sizes = ChannelsLastGroupNorm(made(8, 4)), []
    monkeypatch.setattr(group_norm, "VALUES", room)
    monkeypatch.setattr(norm, "_store", lambda given, wanted: sizes.append((len(given), len(wanted))))
    norm(images(7, 8, 5, 5))
    assert sizes == [(count, count) for count in images_at_a_time]


def test_a_row_does_not_depend_on_its_company():
    torch.manual_seed(0)
    norm, x = ChannelsLastGroupNorm(made(8, 4)), images(6, 8, 5, 5)
    other = x.clone()
    other[1:] = 1e4 * torch.randn(5, 8, 5, 5)
    assert torch.equal(norm(x)[0], norm(other)[0])


@pytest.mark.parametrize(
    ("size", "device", "left"),
    [
        ((5, 5), "cpu", False),
        ((5, 5), "meta", True),
        ((8, 100), "cpu", False),
        ((100, 8), "cpu", False),
        ((31, 33), "cpu", False),
        ((16, 64), "cpu", True),
        ((64, 16), "cpu", True),
    ],
)
def test_1024_pixels_and_other_devices_are_left_to_torch(size, device, left, monkeypatch):
    asked = []
    monkeypatch.setattr(group_norm.F, "group_norm", lambda x, *rest: asked.append(x) or x)
    ChannelsLastGroupNorm(made(8, 4).to(device))(images(2, 8, *size).to(device))
    assert bool(asked) == left


def test_other_layouts_and_sizes_are_left_to_torch():
    norm, x = made(8, 4), torch.randn(2, 8, 5, 5)
    assert torch.equal(ChannelsLastGroupNorm(norm)(x), norm(x))
    assert torch.equal(ChannelsLastGroupNorm(norm)(x.flatten(2)), norm(x.flatten(2)))
    large = images(2, 8, 32, 32)
    assert torch.equal(ChannelsLastGroupNorm(norm)(large), norm(large))


class Normalised(nn.Module):
    """A small network with group normalisation in every place where it may stand."""

    def __init__(self):
        super().__init__()
        self.start = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(8, 16), nn.SiLU(), nn.Conv2d(16, 32, 3))
        self.narrow, self.wide, self.watched = nn.GroupNorm(8, 32), nn.GroupNorm(2, 32), nn.GroupNorm(8, 32)
        self.watched.register_forward_hook(lambda module, given, output: 2 * output)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.watched(self.wide(F.relu(self.narrow(self.start(x)))))
        return self.head(x.square().mean(dim=(2, 3)))


def test_narrow_groups_are_replaced_and_others_stay():
    network = Normalised()
    replace_group_norms(network)
    assert type(network.narrow) is ChannelsLastGroupNorm and network.narrow.weight.shape == (32,)
    assert type(network.wide) is type(network.watched) is nn.GroupNorm
    assert type(network.start[1].activation) is nn.SiLU and type(network.start[2]) is nn.Identity


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_what_follows_a_layer_stays_unless_it_is_a_silu_that_nobody_watches(hook):
    watched = nn.SiLU()
    getattr(watched, hook)(lambda module, *given: None)
    for after in (nn.ReLU(), watched):
        layers = nn.Sequential(nn.GroupNorm(8, 16), after)
        replace_group_norms(layers)
        assert type(layers[0]) is ChannelsLastGroupNorm and type(layers[0].activation) is nn.Identity
        assert layers[1] is after


def test_a_layer_is_replaced_wherever_it_stands_and_a_network_of_nothing_else_stays():
    shared, network = nn.GroupNorm(8, 32), nn.Module()
    network.one, network.other = shared, nn.Sequential(nn.ReLU(), shared)
    replace_group_norms(network)
    assert type(network.one) is type(network.other[1]) is ChannelsLastGroupNorm
    widest = nn.Sequential(nn.GroupNorm(1, 15), nn.GroupNorm(1, 16))
    replace_group_norms(widest)
    assert [type(layer) is nn.GroupNorm for layer in widest] == [False, True]
    alone = nn.GroupNorm(8, 32)
    replace_group_norms(alone)
    assert type(alone) is nn.GroupNorm


@pytest.mark.parametrize(
    "device, compile, ours", [("cpu", False, True), ("cpu", True, False), ("meta", False, False), ("meta", True, False)]
)
def test_ours_is_for_cpus_and_not_for_the_compiler(device, compile, ours):
    inference = Inference(compile=compile, precision="bfloat16")  # in float32 a GPU has channels first
    step = steps(inference, torch.empty(0, device=device))["channels_last"]
    form = step(Form(Normalised()))
    assert any(type(part) is ChannelsLastGroupNorm for part in form.network.modules()) == ours


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 0.03)])
def test_a_network_with_group_normalisation_is_sampled_with_ours(precision, tolerance):
    torch.manual_seed(0)
    network, x = Normalised().eval(), torch.rand(8, 3, 8, 8)
    base = BaseClassifier(network, Inference(precision=precision), shape=(3, 8, 8), classes=4)
    assert base.describe()["layout"] == "channels last"
    assert sum(type(part) is ChannelsLastGroupNorm for part in base.network.modules()) == 2
    with torch.inference_mode():
        torch.testing.assert_close(base.logits(x.clone()), network(x), rtol=tolerance, atol=tolerance)
