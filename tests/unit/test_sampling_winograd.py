"""Convolutions by Winograd's algorithm: the same function up to rounding, row by row, and stated in the model's entry."""

import numpy as np
import pytest
import torch
from models_examples import CIFAR, spec
from torch import nn
from torch.nn import functional as F

from certflow.errors import ConfigError
from certflow.models import build
from certflow.models.base import Inference
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast import winograd
from certflow.sampling.fast.fusing import FusedConv2d
from certflow.sampling.fast.winograd import WinogradConv2d, replace_convolutions

needs_compiler = pytest.mark.usefixtures("kernel")
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def kernel():
    if not winograd.available():
        pytest.skip("no C compiler")


def layer(
    inputs: int, outputs: int, padding: int = 1, relu: bool | None = None, bias: bool = True, size: int = 3
) -> nn.Module:
    torch.manual_seed(inputs + outputs)
    plain = nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias)
    return (plain if relu is None else FusedConv2d(plain, relu)).requires_grad_(False)


def exactly(convolution: nn.Module, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
    """What a layer of `layer` computes, in float64."""
    fused = isinstance(convolution, FusedConv2d)
    padding = convolution.geometry[0] if fused else convolution.padding
    bias = None if convolution.bias is None else convolution.bias.double()
    y = F.conv2d(x.double(), convolution.weight.double(), bias, padding=tuple(padding))
    y = y if other is None else y + other.double()
    return y.relu() if fused and convolution.after == "relu" else y


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("shape", [(5, 5), (6, 9), (8, 8), (13, 7), (32, 32)])
@pytest.mark.parametrize(
    ("channels", "size", "padding", "relu", "bias"),
    [
        ((16, 16), 3, 1, None, True),
        ((16, 48), 3, 0, True, True),
        ((64, 32), 3, 1, False, False),
        ((19, 37), 3, 2, True, True),
        ((20, 50), 5, 0, None, True),
        ((32, 16), 5, 2, True, False),
        ((17, 33), 5, 1, False, True),
    ],
)
def test_it_is_the_convolution(shape, channels, size, padding, relu, bias):
    plain = layer(*channels, padding, relu, bias, size)
    x = torch.randn(3, channels[0], *shape)
    other = torch.randn_like(exactly(plain, x)).float() if relu is not None else None
    given = (x,) if other is None else (x, other)
    wanted, found = exactly(plain, *given), WinogradConv2d(plain)(*given)
    assert found.shape == wanted.shape and found.is_contiguous(memory_format=torch.channels_last)
    assert (found - wanted).abs().max() < 5e-5 * wanted.abs().max()


@needs_compiler
@pytest.mark.parametrize("size", [3, 5])
def test_whole_numbers_are_convolved_without_any_error(size):
    """Filters of multiples of 576 = 24² have whole values at all points, so that nothing is rounded."""
    generator = np.random.default_rng(0)
    plain = layer(16, 16, size=size)
    plain.weight.copy_(torch.from_numpy(576.0 * generator.integers(-1, 2, plain.weight.shape)))
    plain.bias.copy_(torch.arange(16.0))
    x = torch.from_numpy(generator.integers(0, 2, (5, 16, 10, 10))).float()
    assert torch.equal(WinogradConv2d(plain)(x).double(), exactly(plain, x))


@needs_compiler
def test_a_row_is_the_same_bits_in_any_batch_and_on_any_number_of_threads(threads):
    fast = WinogradConv2d(layer(16, 32, relu=True))
    x, other = torch.randn(37, 16, 9, 9), torch.randn(37, 32, 9, 9)
    threads(1)
    whole = fast(x, other)
    for number in (1, 2, 3):
        threads(number)
        assert torch.equal(fast(x, other), whole)
        assert all(torch.equal(fast(x[i : i + 5], other[i : i + 5]), whole[i : i + 5]) for i in (0, 7, 32))


@needs_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_so_and_in_its_own_row(bad):
    fast, x = WinogradConv2d(layer(16, 16, relu=True)), torch.randn(9, 16, 8, 8)
    clean = fast(x)
    x[4, 3, 2, 2] = bad
    found = fast(x)
    assert found[4].isnan().any()
    rest = [row for row in range(9) if row != 4]
    assert torch.equal(found[rest], clean[rest])


@needs_compiler
def test_memory_layouts_and_views_change_nothing():
    fast, x = WinogradConv2d(layer(16, 16)), torch.randn(6, 16, 8, 8)
    wanted = fast(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(fast(x), wanted)
    assert torch.equal(fast(x.flip(0))[::2], wanted[[5, 3, 1]])
    assert torch.equal(fast(torch.cat([x, x], dim=3)[..., :8]), wanted)


class Several(nn.Module):
    """Convolutions that fit and those that do not, each on images of its own."""

    def __init__(self):
        super().__init__()
        self.fits = nn.Conv2d(16, 16, 3, padding=1)
        self.few = nn.Conv2d(8, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 16, 7, padding=3)
        self.strided = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.around = nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular")
        self.far = nn.Conv2d(16, 16, 3, padding=3)
        self.uneven = nn.Conv2d(16, 16, 3, padding=(1, 0))
        self.tiny = nn.Conv2d(16, 16, 3)
        self.hooked = nn.Conv2d(16, 16, 3, padding=1)
        self.hooked.register_forward_hook(lambda part, given, y: y + 1)

    def forward(self, x):
        given = {name: x[:, :8] if name == "few" else x[..., :4, :4] if name == "tiny" else x for name in self._modules}
        whole = [part(given[name]) for name, part in self.named_children()]
        return torch.stack([y.flatten(1).sum(1) for y in whole], dim=1)


@needs_compiler
def test_only_what_it_can_do_and_what_pays_is_replaced():
    network, x = Several().eval(), torch.randn(4, 16, 8, 8)
    with torch.no_grad():
        wanted = network(x)
        assert replace_convolutions(network, x) == 1 and isinstance(network.fits, WinogradConv2d)
        assert all(type(part) is nn.Conv2d for name, part in network.named_children() if name != "fits")
        torch.testing.assert_close(network(x), wanted, rtol=1e-4, atol=1e-4)


def residual() -> nn.Module:
    torch.manual_seed(0)
    return build(spec("cifar_resnet", depth=8), CIFAR)[1].eval()


@needs_compiler
def test_a_network_that_asks_for_it_is_the_same_function():
    network = residual()
    plain, fast = (BaseClassifier(network, Inference(winograd=asked), shape=SHAPE) for asked in (False, True))
    assert (plain.describe()["winograd"], fast.describe()["winograd"]) == (False, True)
    assert sum(isinstance(part, WinogradConv2d) for part in fast.network.modules()) == 4
    assert fast.describe()["dropped"] == "none"
    x = torch.randn(20, *SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(fast.logits(x.clone()), plain.logits(x.clone()), rtol=1e-4, atol=1e-4)


def test_it_is_not_left_out_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setattr(winograd, "_library", lambda: None)
    with pytest.raises(ConfigError, match="winograd: needs a C compiler"):
        BaseClassifier(residual(), Inference(winograd=True), shape=SHAPE)
    assert not BaseClassifier(residual(), shape=SHAPE).describe()["winograd"]


@pytest.mark.parametrize("other", [{"precision": "bfloat16"}, {"compile": True}])
def test_it_is_for_float32_as_it_is(other):
    with pytest.raises(ValueError, match="winograd: is for float32 without compile"):
        Inference(winograd=True, **other)
