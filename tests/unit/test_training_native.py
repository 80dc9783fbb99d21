"""Training with convolutions by C code of ours: the same gradients up to rounding, stated in the method, and no trace left."""

import re

import pytest
import torch
from models_examples import CIFAR, MNIST, spec
from torch import nn
from torch.nn import functional as F
from training_examples import digits, timeless, weights

from certflow.errors import ConfigError
from certflow.models import build
from certflow.models.fast import pooled, winograd
from certflow.models.fast.winograd import Shape, correlate
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.fast import convolutions
from certflow.training.fast.convolutions import is_native, native
from certflow.training.fast.frozen import frozen
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.kinds.smoothadv import SmoothAdv

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def kernel():
    if winograd.kernel() is None:
        pytest.skip("no C compiler")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def patched(network: nn.Module) -> int:
    """How many of its layers are not torch's for now."""
    return sum("_conv_forward" in vars(part) for part in network.modules())


def gradients(layer: nn.Conv2d, x: torch.Tensor, dy: torch.Tensor) -> list[torch.Tensor]:
    """Outputs and the gradients by images, filters and, where there is one, bias."""
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    return [y.detach(), *torch.autograd.grad(y, [leaf, *layer.parameters()], dy.to(y.dtype))]


@pytest.mark.parametrize("shape", [(5, 5), (6, 9), (13, 7), (16, 16)])
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "padding", "bias"),
    [
        (16, 16, 3, 1, False),
        (16, 48, 3, 0, True),
        (19, 37, 3, 2, True),
        (20, 50, 5, 0, True),
        (33, 17, 5, 4, False),
        (1, 20, 5, 2, True),
        (3, 16, 3, 1, False),
        (64, 3, 3, 1, True),
        (20, 1, 5, 3, False),
    ],
)
def test_the_gradients_are_those_of_the_convolution(monkeypatch, shape, inputs, outputs, size, padding, bias):
    """In both layouts of what comes back, also where images are so small that it would not pay."""
    monkeypatch.setattr(convolutions, "pays", lambda shape, height, width: True)
    used = []
    monkeypatch.setattr(convolutions, "convolve", lambda *given: used.append(given) or winograd.convolve(*given))
    torch.manual_seed(inputs + outputs)
    layer = nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias)
    x = torch.randn(35, inputs, *shape)
    for layout in (torch.contiguous_format, torch.channels_last):
        dy = torch.randn_like(layer(x)).contiguous(memory_format=layout)
        layer.double()
        wanted = gradients(layer, x.double(), dy)
        layer.float()
        with native(layer, CPU):
            found = gradients(layer, x, dy)
        assert [t.shape for t in found] == [t.shape for t in wanted] and len(used) == 2
        used.clear()
        assert all((a - b).abs().max() < 5e-5 * b.abs().max() for a, b in zip(found, wanted, strict=True))


def test_which_gradients_are_asked_for_changes_none_of_them():
    layer, x = nn.Conv2d(16, 16, 3, padding=1), torch.randn(5, 16, 8, 8)
    dy = torch.randn(5, 16, 8, 8)
    with native(layer, CPU):
        _, by_x, by_weight, by_bias = gradients(layer, x, dy)
        layer.weight.requires_grad_(False)
        leaf = x.clone().requires_grad_()
        assert torch.equal(torch.autograd.grad(layer(leaf), leaf, dy)[0], by_x)
        layer.weight.requires_grad_(True)
        found = torch.autograd.grad(layer(x), [layer.weight, layer.bias], dy)
        assert torch.equal(found[0], by_weight) and torch.equal(found[1], by_bias)


def test_images_are_shared_out_to_threads_that_have_enough_to_do(threads, monkeypatch):
    asked, made = [], winograd.share
    monkeypatch.setattr(winograd, "share", lambda threads, *given: asked.append(threads) or made(threads, *given))
    x, dy = torch.randn(24, 19, 9, 9), torch.randn(24, 33, 9, 9)  # of 9 tiles each: 216, enough for three
    threads(1)
    wanted = correlate(x, dy, Shape(19, 33, 3, 1))
    for number in (2, 3, 7):
        threads(number)
        torch.testing.assert_close(correlate(x, dy, Shape(19, 33, 3, 1)), wanted, rtol=1e-3, atol=1e-3)
    assert asked == [1, 2, 3, 3]


def test_small_whole_numbers_have_a_whole_gradient():
    """Sums at the points are exact then, and what is left of the transform back rounds to the right number."""
    torch.manual_seed(0)
    x, dy = torch.randint(0, 2, (3, 16, 6, 6)).float(), torch.randint(-1, 2, (3, 20, 6, 6)).float()
    wanted = F.grad.conv2d_weight(x.double(), (20, 16, 3, 3), dy.double(), padding=1)
    assert torch.equal(correlate(x, dy, Shape(16, 20, 3, 1)).round().double(), wanted)


def test_there_is_no_gradient_of_a_gradient():
    """Rather an error than the wrong one: what our code computes has no history."""
    layer, leaf = nn.Conv2d(16, 16, 3, padding=1), torch.rand(2, 16, 8, 8, requires_grad=True)
    with native(layer, CPU):
        (first,) = torch.autograd.grad(layer(leaf).square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


def test_images_that_torch_refuses_are_refused_and_one_without_a_batch_is_not():
    layer = nn.Conv2d(16, 16, 5)
    with native(layer, CPU):
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            layer(torch.rand(2, 16, 3, 8))
        for channels in (1, 15, 17):
            with pytest.raises(RuntimeError, match="to have 16 channels"):
                layer(torch.rand(2, channels, 8, 8))
        assert layer(torch.rand(16, 8, 8)).shape == (16, 4, 4)
        with pytest.raises(RuntimeError, match="same"):
            layer.to(torch.bfloat16)(torch.rand(2, 16, 8, 8))


def test_no_image_has_no_gradient():
    assert not correlate(torch.zeros(0, 16, 8, 8), torch.zeros(0, 16, 8, 8), Shape(16, 16, 3, 1)).any()


@pytest.mark.parametrize(("model", "info"), [(spec("lenet"), MNIST), (spec("cifar_resnet", depth=8), CIFAR)])
def test_a_frozen_network_has_the_same_gradient_by_its_images(model, info):
    torch.manual_seed(0)
    network = build(model, info)[1].to(memory_format=torch.channels_last).double()
    x = torch.rand(9, *info.shape)

    def attacked(x: torch.Tensor) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        with frozen(network):
            return torch.autograd.grad(network(leaf).square().sum(), leaf)[0]

    wanted = attacked(x.double())
    network.float()
    with native(network, CPU):
        assert patched(network) == {"lenet": 2, "cifar_resnet": 5}[model.kind]
        found = attacked(x)
    assert (found - wanted).norm() < 1e-4 * wanted.norm()
    assert not patched(network)


class Network(nn.Sequential):
    """Convolutions of grey images and of many channels, which are ours, and a strided one, which is not."""

    def __init__(self):
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 20, 3, padding=1, bias=False)
        third = nn.Conv2d(20, 16, 3, stride=2)
        relus = [nn.ReLU() for _ in range(3)]
        super().__init__(
            first, relus[0], second, nn.BatchNorm2d(20), relus[1], third, relus[2], nn.Flatten(), nn.Linear(144, 10)
        )


def trained(method, **options):
    """Weights as bytes, the network and the log."""
    network = Network()
    result = train(method, network, *digits(), noise=GaussianNoise(sigma=0.25), seed=3, quiet=True, **options)
    return weights(network), network, timeless(result.rows)


@pytest.mark.parametrize(
    "method",
    [
        Gaussian(epochs=2, batch=40, lr=0.05),
        SmoothAdv(epochs=1, batch=40, lr=0.05, noises=2, steps=2, eps256=64, warmup=1),
    ],
)
def test_a_training_is_the_same_up_to_rounding_and_the_same_bits_every_time(method, threads, monkeypatch):
    ours = method.model_copy(update={"native": True})
    asked = []
    monkeypatch.setattr(winograd, "share", lambda *given, share=winograd.share: asked.append(given) or share(*given))
    threads(1)
    plain_bytes, plain, _ = trained(method)
    assert not asked
    first_bytes, first, rows = trained(ours)
    assert asked and not patched(first)
    assert first_bytes != plain_bytes
    for found, wanted in zip(first.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    again_bytes, _, again = trained(ours)
    assert (again_bytes, again) == (first_bytes, rows)


def test_a_training_that_goes_on_has_the_bits_of_one_that_was_never_stopped(tmp_path):
    method = Gaussian(epochs=3, batch=40, lr=0.05, native=True)
    wanted, _, _ = trained(method)

    def stop(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    network = Network()
    with pytest.raises(KeyboardInterrupt):
        train(
            method,
            network,
            *digits(),
            noise=GaussianNoise(sigma=0.25),
            seed=3,
            quiet=True,
            log=stop,
            resume=tmp_path / "state",
        )
    assert not patched(network)
    assert trained(method, resume=tmp_path / "state")[0] == wanted


@pytest.mark.parametrize("asked", [False, True])
def test_notes_name_the_compiler_where_its_code_was_used(asked):
    method = Gaussian(epochs=1, batch=40, lr=0.05, native=asked)
    found = train(method, Network(), *digits(), noise=GaussianNoise(sigma=0.25), seed=3, quiet=True).notes
    assert ("compiler" in found) is asked
    assert not asked or re.search(r"(gcc|clang).*\d", found["compiler"], re.IGNORECASE)


def test_elsewhere_than_on_a_cpu_nothing_is_changed():
    network = Network()
    with native(network, torch.device("meta")):
        assert not patched(network)


def test_a_network_that_is_native_already_stays_so():
    network = Network()
    with native(network, CPU):
        with native(network, CPU):
            assert patched(network) == 2
        assert patched(network) == 2
    assert not patched(network)


def test_a_grey_convolution_that_is_not_worth_it_keeps_its_cheap_gradient_in_attacks():
    layer, leaf = nn.Conv2d(1, 8, 5), torch.rand(2, 1, 12, 12, requires_grad=True)
    with native(layer, CPU), frozen(layer):
        assert not is_native(layer, leaf)
        assert type(layer(leaf).grad_fn).__qualname__ == "_ConvolutionBackward"
    wide = nn.Conv2d(1, 16, 5)
    with native(wide, CPU):
        assert is_native(wide, leaf) and not is_native(wide, leaf[0])


def test_micro_batches_are_convolved_alike():
    plain, ours = (
        trained(Gaussian(epochs=1, batch=40, micro_batch=20, lr=0.05, native=asked))[1] for asked in (False, True)
    )
    for found, wanted in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("module", [winograd, pooled])
def test_it_is_not_left_out_where_there_is_no_compiler(module, monkeypatch):
    monkeypatch.setattr(module, "kernel", lambda: None)
    with pytest.raises(ConfigError, match="native: needs a C compiler"):
        trained(Gaussian(epochs=1, batch=40, native=True))


def test_it_is_for_float32():
    with pytest.raises(ValueError, match="native: is for float32, got precision=bfloat16"):
        Gaussian(native=True, precision="bfloat16")
    layer, x = nn.Conv2d(16, 16, 3, padding=1), torch.rand(2, 16, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = layer(x)
        with native(layer, CPU):
            assert layer(x).dtype == torch.bfloat16 and torch.equal(layer(x), wanted)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(16, 16, 3, padding="same"),
        nn.Conv2d(16, 16, 3, stride=2),
        nn.Conv2d(16, 16, 3, padding=3),
        nn.Conv2d(16, 16, 7),
        nn.Conv2d(16, 16, 3, groups=2),
        nn.Conv2d(16, 16, 3).double(),
        nn.Conv2d(8, 16, 3),
        nn.Conv2d(16, 8, 3),
        nn.Conv1d(16, 16, 3),
        nn.ConvTranspose2d(16, 16, 3),
    ],
)
def test_other_convolutions_stay_torchs(layer):
    x = torch.rand(2, layer.in_channels, *[8] * (1 if isinstance(layer, nn.Conv1d) else 2), dtype=layer.weight.dtype)
    wanted = layer(x)
    with native(layer, CPU):
        assert torch.equal(layer(x), wanted)
