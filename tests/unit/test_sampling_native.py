"""Convolutions by C code of ours: the same function up to rounding, row by row, and stated in the model's entry."""

import os
import re
import signal
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from models_examples import CIFAR, MNIST, spec
from torch import nn
from torch.nn import functional as F

from certflow.errors import ConfigError
from certflow.files.provenance import versions
from certflow.machine.native import Source
from certflow.models import build
from certflow.models.base import Inference
from certflow.models.fast import pooled, winograd
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast import convolutions
from certflow.sampling.fast.convolutions import WinogradConv2d, _pays, replace_convolutions, shape_of
from certflow.sampling.fast.fusing import FusedConv2d

needs_compiler = pytest.mark.usefixtures("kernel")
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def kernel():
    if winograd.kernel() is None:
        pytest.skip("no C compiler")


def layer(
    inputs: int,
    outputs: int,
    padding: int = 1,
    relu: bool | None = None,
    bias: bool = True,
    size: int = 3,
    pool: bool = False,
) -> nn.Module:
    torch.manual_seed(inputs + outputs)
    plain = nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias)
    return (plain if relu is None else FusedConv2d(plain, relu, pool)).requires_grad_(False)


def exactly(convolution: nn.Module, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
    """What a layer of `layer` computes, in float64."""
    fused = isinstance(convolution, FusedConv2d)
    padding = convolution.geometry[0] if fused else convolution.padding
    bias = None if convolution.bias is None else convolution.bias.double()
    y = F.conv2d(x.double(), convolution.weight.double(), bias, padding=tuple(padding))
    y = y if other is None else y + other.double()
    y = y.relu() if fused and convolution.after == "relu" else y
    return F.max_pool2d(y, 2) if fused and convolution.pool else y


def replaced(plain: nn.Module) -> WinogradConv2d:
    """Our layer for one of `layer`, whether it pays or not."""
    shape = shape_of(plain)
    assert shape is not None
    return WinogradConv2d(plain, shape)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("shape", [(5, 5), (6, 9), (8, 8), (13, 7), (32, 32), (7, 75)])
@pytest.mark.parametrize(
    ("channels", "size", "padding", "relu", "bias", "pool"),
    [
        ((16, 16), 3, 1, None, True, False),
        ((16, 48), 3, 0, True, True, False),
        ((64, 32), 3, 1, False, False, False),
        ((19, 37), 3, 2, True, True, True),
        ((20, 50), 5, 0, None, True, False),
        ((20, 50), 5, 1, True, True, True),
        ((32, 16), 5, 2, True, False, False),
        ((17, 33), 5, 1, False, True, True),
        ((1, 20), 5, 1, True, True, True),
        ((1, 16), 3, 1, None, True, False),
        ((1, 6), 5, 2, False, False, True),
        ((2, 24), 5, 3, True, True, False),
        ((3, 37), 3, 2, True, True, True),
        ((3, 16), 3, 0, True, False, False),
        ((20, 1), 5, 4, None, True, False),
        ((64, 3), 3, 1, True, True, False),
        ((17, 2), 5, 0, False, False, False),
    ],
)
def test_winograds_algorithm_is_the_convolution(shape, channels, size, padding, relu, bias, pool):
    """On three images of a size, with whatever may be added to the convolution."""
    plain, x = layer(*channels, padding, relu, bias, size, pool), torch.randn(3, channels[0], *shape)
    given = (x,) if relu is None or pool else (x, torch.randn_like(exactly(plain, x)).float())
    wanted, found = exactly(plain, *given), replaced(plain)(*given)
    assert found.shape == wanted.shape and found.is_contiguous(memory_format=torch.channels_last)
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max()


def whole_numbers(plain: nn.Module, multiple: int, images: int = 5) -> torch.Tensor:
    """Images of zeros and ones, for a layer that is given filters of -1, 0 and 1 times a number, and whole biases."""
    generator = np.random.default_rng(0)
    plain.weight.copy_(torch.from_numpy(float(multiple) * generator.integers(-1, 2, plain.weight.shape)))
    plain.bias.copy_(torch.arange(float(len(plain.bias))))
    return torch.from_numpy(generator.integers(0, 2, (images, plain.weight.shape[1], 10, 10))).float()


@needs_compiler
@pytest.mark.parametrize("plain", [layer(16, 16), layer(1, 16), layer(3, 20, relu=True, pool=True)])
def test_whole_numbers_are_convolved_without_any_error(plain):
    """Filters of multiples of 576 = 24² have whole values at all points of 3×3, so that nothing is rounded."""
    x = whole_numbers(plain, 576)
    assert torch.equal(replaced(plain)(x).double(), exactly(plain, x))


WAYS = [
    layer(inputs, outputs, relu=True, size=size)
    for inputs, outputs, size in [(16, 32, 3), (20, 50, 5), (1, 20, 5), (1, 17, 3), (3, 16, 3), (2, 16, 5)]
]
TO_FEW = layer(20, 3, relu=True)
"""One for each way through the functions in C."""


@needs_compiler
@pytest.mark.parametrize("plain", [*WAYS, TO_FEW])
def test_a_row_is_the_same_bits_in_any_batch_and_on_any_number_of_threads(threads, plain):
    fast = replaced(plain)
    x = torch.randn(37, plain.weight.shape[1], 9, 9)
    other = torch.randn_like(exactly(plain, x)).float()
    threads(1)
    whole = fast(x, other)
    for number in (1, 2, 3):
        threads(number)
        assert torch.equal(fast(x, other), whole)
        assert all(torch.equal(fast(x[i : i + 5], other[i : i + 5]), whole[i : i + 5]) for i in (0, 7, 32))


@needs_compiler
def test_pooling_in_the_kernel_is_pooling_after_it(threads):
    threads(1)
    for plain in WAYS:
        both, x = FusedConv2d(plain_of(plain), relu=True, pool=True), torch.randn(5, plain.weight.shape[1], 11, 14)
        assert torch.equal(replaced(both)(x), F.max_pool2d(replaced(plain)(x), 2))


def plain_of(fused: FusedConv2d) -> nn.Conv2d:
    """The convolution that a fused layer was made of."""
    outputs, inputs, size, _ = fused.weight.shape
    plain = nn.Conv2d(inputs, outputs, size, padding=tuple(fused.geometry[0])).requires_grad_(False)
    plain.weight.copy_(fused.weight)
    plain.bias.copy_(fused.bias)
    return plain


@needs_compiler
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("plain", "pool"), [*product(WAYS, [False, True]), (TO_FEW, False)])
def test_what_is_not_a_number_stays_so_and_in_its_own_row(plain, pool, bad):
    convolution = FusedConv2d(plain_of(plain), relu=False, pool=pool)
    convolution.weight[0] = 0  # infinity times zero is not a number, in any order
    fast, x = replaced(convolution), torch.randn(9, plain.weight.shape[1], 8, 8)
    clean = fast(x)
    x[4, -1, 2, 2] = bad
    found = fast(x)
    assert found[4].isnan().any()
    rest = [row for row in range(9) if row != 4]
    assert torch.equal(found[rest], clean[rest])


@needs_compiler
@pytest.mark.parametrize("size", [3, 5])
def test_without_transforms_it_spoils_no_more_outputs_than_its_filter_reaches(size):
    plain, x = layer(16, 3, padding=1, size=size), torch.randn(2, 16, 13, 13)
    x[1, 5, 6, 6] = float("inf")
    assert torch.equal(replaced(plain)(x).isfinite(), plain(x).isfinite())


@needs_compiler
@pytest.mark.parametrize(
    ("channels", "dtype", "got"), [(15, torch.float32, "float32 and 15"), (16, torch.bfloat16, "bfloat16 and 16")]
)
def test_images_of_other_channels_or_numbers_are_refused(channels, dtype, got):
    fast, images = replaced(layer(16, 16)), torch.zeros(2, channels, 8, 8, dtype=dtype)
    with pytest.raises(ValueError, match=f"images must be float32 and have 16 channels, got {got}"):
        fast(images)
    with pytest.raises(ValueError, match=f"got {got}"):
        fast(torch.zeros(2, 16, 8, 8), images)


@needs_compiler
def test_what_is_added_may_be_the_same_for_all_pixels():
    plain, x, other = layer(16, 16, padding=1), torch.randn(3, 16, 8, 8), torch.randn(3, 16, 1, 1)
    torch.testing.assert_close(replaced(plain)(x, other), plain(x) + other, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_memory_layouts_and_views_change_nothing():
    fast, x = replaced(layer(16, 16)), torch.randn(6, 16, 8, 8)
    wanted = fast(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(fast(x), wanted)
    assert torch.equal(fast(x.flip(0))[::2], wanted[[5, 3, 1]]) and fast(x[:0]).shape == (0, 16, 8, 8)
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
        self.grey = nn.Conv2d(1, 16, 3, padding=1)
        self.grey_to_few = nn.Conv2d(1, 6, 3, padding=1)
        self.hooked = nn.Conv2d(16, 16, 3, padding=1)
        self.hooked.register_forward_hook(lambda part, given, y: y + 1)

    def forward(self, x):
        cut = {"few": x[:, :8], "grey": x[:, :1], "grey_to_few": x[:, :1], "tiny": x[..., :4, :4]}
        given = {name: cut.get(name, x) for name in self._modules}
        whole = [part(given[name]) for name, part in self.named_children()]
        return torch.stack([y.flatten(1).sum(1) for y in whole], dim=1)


@needs_compiler
def test_only_what_it_can_do_and_what_pays_is_replaced():
    network, x = Several().eval(), torch.randn(4, 16, 8, 8)
    with torch.no_grad():
        wanted = network(x)
        assert replace_convolutions(network, x) == 2
        assert [name for name, part in network.named_children() if type(part) is not nn.Conv2d] == ["fits", "grey"]
        torch.testing.assert_close(network(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "size", "pool", "pays"),
    [
        ((16, 16), (8, 8), False, True),
        ((15, 16), (8, 8), False, False),
        ((16, 15), (8, 8), False, False),
        ((3, 16), (8, 8), False, True),
        ((3, 15), (8, 8), False, False),
        ((3, 6), (4, 4), True, True),
        ((4, 16), (4, 4), True, False),
        ((16, 16), (4, 2), False, True),  # half of a tile is wanted
        ((16, 16), (2, 4), False, True),
        ((16, 16), (4, 1), False, False),
        ((16, 16), (5, 6), False, False),  # 64 outputs for 30
        ((16, 16), (5, 7), False, True),  # 64 for 35
        ((16, 16), (2, 1), True, True),  # 16 for 4x2, of which half of the rows and columns are left
        ((16, 16), (1, 1), True, False),
        ((16, 3), (3, 1), False, True),
        ((16, 3), (8, 8), True, False),
        ((15, 3), (8, 8), False, False),
    ],
)
def test_it_pays_from_16_channels_on_and_where_half_of_the_tiles_is_wanted(channels, size, pool, pays):
    convolution = layer(*channels, relu=True if pool else None, pool=pool)
    assert _pays(convolution, shape_of(convolution), *size) == pays


@pytest.mark.parametrize(
    "other", [nn.Conv2d(16, 16, (3, 5), padding=1), nn.Conv2d(16, 16, 3, dtype=torch.float16), nn.Linear(16, 16)]
)
def test_square_filters_in_float32_or_bfloat16_alone_have_an_algorithm(other):
    assert shape_of(other) is None and shape_of(nn.Conv2d(16, 16, 3, padding=3)) is None
    assert shape_of(nn.Conv2d(16, 16, 3, padding=2)) is not None


@needs_compiler
def test_images_are_shared_out_to_as_many_threads_as_torch_has_and_no_more_than_there_are_images(monkeypatch, threads):
    convolution, asked, made = replaced(layer(16, 16)), [], winograd.share
    monkeypatch.setattr(winograd, "share", lambda threads, *given: asked.append(threads) or made(threads, *given))
    for count, rows in ((3, 5), (3, 2), (3, 1), (1, 5), (3, 0)):
        threads(count)
        assert convolution(torch.rand(rows, 16, 8, 8)).shape == (rows, 16, 8, 8)
    assert asked == [3, 2, 1, 1, 1]


@needs_compiler
def test_a_child_has_threads_of_its_own(threads):
    """Those of its parent do not live on in it, and whoever asked them would wait for ever."""
    threads(2)
    convolution, x = replaced(layer(16, 16)), torch.rand(4, 16, 8, 8)
    wanted = convolution(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: of a process with threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if torch.equal(convolution(x), wanted) else 2
        finally:
            os._exit(code)
    until, ended = time.monotonic() + 100, 0
    while not ended and time.monotonic() < until:
        time.sleep(0.01)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended and os.waitstatus_to_exitcode(status) == 0


def test_a_kernel_that_is_gone_is_an_error(monkeypatch):
    monkeypatch.setattr(winograd, "kernel", lambda: None)
    with pytest.raises(ConfigError, match="a compiled kernel is gone; run again"):
        replaced(layer(16, 16))(torch.zeros(1, 16, 8, 8))


@needs_compiler
@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("bfloat16", 2e-3)])
def test_lenet_is_two_kernels_and_two_linear_layers(precision, error):
    torch.manual_seed(0)
    network = build(spec("lenet"), MNIST)[1].eval()
    ways = (Inference(precision=precision, native=asked) for asked in (False, True))
    plain, fast = (BaseClassifier(network, way, shape=(1, 28, 28)) for way in ways)
    found = [type(part) for part in fast.network.modules() if not list(part.children())]
    assert [found.count(kind) for kind in (nn.Linear, WinogradConv2d)] == [2, 2]
    # Without units for bfloat16 convolutions in it are not fused with what follows.
    assert len(found) == 4 or plain.describe()["dropped"] == "fuse"
    assert fast.describe()["native"] and "C compiler" in fast.versions and fast.dtype == plain.dtype
    x = torch.rand(9, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(fast.logits(x.clone()), plain.logits(x.clone()), rtol=error, atol=error)


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("wrong", [lambda y: 1.2 * y, lambda y: y.index_fill(1, torch.tensor([0]), 0)])
def test_a_kernel_that_computes_something_else_is_left_out(monkeypatch, precision, wrong):
    """In bfloat16, too, where the module in float32 is too far away to tell."""
    torch.manual_seed(0)
    network = build(spec("lenet"), MNIST)[1].eval()
    right = convolutions.convolve
    monkeypatch.setattr(convolutions, "convolve", lambda *given, **more: wrong(right(*given, **more)))
    base = BaseClassifier(network, Inference(precision=precision, native=True), shape=(1, 28, 28))
    assert not base.describe().get("native") and "native" in base.describe()["dropped"]


@needs_compiler
def test_in_bfloat16_only_5x5_is_ours():
    fast = BaseClassifier(residual(), Inference(precision="bfloat16", native=True), shape=SHAPE)
    assert not fast.describe()["native"] and "native" not in fast.describe()["dropped"]
    for size, ours in ((3, False), (5, True)):
        convolution = layer(16, 16, size=size).to(torch.bfloat16)
        assert _pays(convolution, shape_of(convolution), 8, 8) is ours


@needs_compiler
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("relu", "pool"), [(None, False), (True, False), (True, True)])
@pytest.mark.parametrize("channels", [(1, 20), (20, 50), (16, 3)])
def test_in_bfloat16_sums_are_taken_in_float32_and_rounded_once(channels, relu, pool, bias):
    """Of images and filters of eight digits; half of the last digit of a result is at most 2^-8 of it."""
    if pool and channels[1] <= winograd.FEW:
        pytest.skip("not pooled")
    plain = layer(*channels, 2, relu, bias, 5, pool).to(torch.bfloat16)
    x = torch.randn(3, channels[0], 12, 12).bfloat16()
    given = (x,) if relu is None or pool else (x, torch.randn_like(exactly(plain, x)).bfloat16())
    wanted, found = exactly(plain, *given), replaced(plain)(*given)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    assert ((found - wanted).abs() <= 2**-8 * wanted.abs() + 2e-5 * wanted.abs().max()).all()


def residual() -> nn.Module:
    torch.manual_seed(0)
    return build(spec("cifar_resnet", depth=8), CIFAR)[1].eval()


@needs_compiler
def test_a_network_that_asks_for_it_is_the_same_function():
    network = residual()
    plain, fast = (BaseClassifier(network, Inference(native=asked), shape=SHAPE) for asked in (False, True))
    assert (plain.describe()["native"], fast.describe()["native"]) == (False, True)
    assert sum(isinstance(part, WinogradConv2d) for part in fast.network.modules()) == 5
    assert fast.describe()["dropped"] == "none"
    x = torch.randn(20, *SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(fast.logits(x.clone()), plain.logits(x.clone()), rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("asked", [False, True])
def test_records_name_the_compiler_where_its_code_was_used(asked):
    """The cache may hold what another compiler has made than the one that is there now."""
    found = BaseClassifier(residual(), Inference(native=asked), shape=SHAPE).versions
    assert found["torch"] == versions()["torch"] and ("C compiler" in found) is asked
    assert not asked or re.search(r"(gcc|clang).*\d", found["C compiler"], re.IGNORECASE)


def includes(path: Path) -> list[str]:
    """Files of ours that a file of C includes, and those that these do."""
    names = re.findall(r'#include "(.+)"', path.read_text())
    return [*names, *(name for inner in names for name in includes(path.parent / inner))]


@pytest.mark.parametrize("source", [winograd.source(), pooled.source()])
def test_a_library_is_named_after_all_that_it_was_made_from(source, tmp_path):
    included = [path.name for path in source.included]
    assert included == includes(source.path) and "vectors.h" in included
    for path in (source.path, *source.included):
        (tmp_path / path.name).write_text(path.read_text())
    copied = Source(tmp_path / source.path.name, source.flags, tuple(tmp_path / name for name in included))
    assert copied.key == source.key
    for name in (source.path.name, *included):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text + "\n")
        assert copied.key != source.key
        (tmp_path / name).write_text(text)


def test_it_is_not_left_out_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setattr(winograd, "kernel", lambda: None)
    with pytest.raises(ConfigError, match="native: needs a C compiler"):
        BaseClassifier(residual(), Inference(native=True), shape=SHAPE)
    assert not BaseClassifier(residual(), shape=SHAPE).describe()["native"]


@pytest.mark.parametrize("other", [{"precision": "float16"}, {"compile": True}])
def test_it_is_for_float32_and_bfloat16_as_they_are(other):
    with pytest.raises(ValueError, match="native: is for float32 and bfloat16 without compile"):
        Inference(native=True, **other)
