"""Networks as attacks use them: the same function and the same gradient by the input, cheaper; and no trace left."""

import pytest
import torch

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.models import build
from certflow.training.fast import frozen as module
from certflow.training.fast.frozen import frozen, pairs


def both(model, x):
    """(output, gradient by the input of a weighted sum of it) in eval mode and frozen."""
    results = []
    for cheap in (False, True):
        leaf = x.clone().requires_grad_()
        if cheap:
            with frozen(model):
                out = model(leaf)
        else:
            out = model.eval()(leaf)
            model.train()
        weights = torch.sin(torch.arange(float(out.numel()))).to(out.dtype).view_as(out)
        results.append((out, torch.autograd.grad((out * weights).sum(), leaf)[0]))
    return results


def used(model, x):
    """The model with statistics, weights and biases that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator, dtype=values.dtype))
    return model.train()


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_of_a_single_channel_convolution_is_torchs(settings, layout):
    conv = torch.nn.Conv2d(1, 7, **settings).double().to(memory_format=layout)
    x = torch.rand(4, 1, 11, 9, dtype=torch.float64).contiguous(memory_format=layout)
    (out, expected), (cheap, found) = both(conv, x)
    assert type(cheap.grad_fn).__name__ == "_ConvolutionBackward"
    assert torch.equal(out, cheap)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.Conv2d(1, 4, 3, padding="same"),
        torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
    ],
)
def test_other_convolutions_take_torchs_own_gradient(conv):
    (out, expected), (cheap, found) = both(conv, torch.rand(2, conv.in_channels, 8, 8))
    assert type(cheap.grad_fn).__name__ != "_ConvolutionBackward"
    torch.testing.assert_close((cheap, found), (out, expected))


@pytest.mark.parametrize(
    ("entry", "shape", "count"),
    [
        ({"kind": "cifar_resnet", "depth": 20}, (3, 32, 32), 21),
        ({"kind": "small_conv"}, (1, 8, 8), 2),
        ({"kind": "lenet"}, (1, 28, 28), 0),
    ],
)
def test_normalisation_is_folded_exactly(entry, shape, count):
    info = DataInfo(classes=10, shape=shape)
    model = build(spec_class("model", entry["kind"])(**entry), info).double().to(memory_format=torch.channels_last)
    used(model, shape)
    x = torch.rand(3, *shape, dtype=torch.float64)
    plain, cheap = both(model, x)
    torch.testing.assert_close(cheap, plain, rtol=1e-10, atol=1e-10)
    assert len(pairs(model)) == count


def test_a_normalisation_that_is_not_the_convolutions_only_reader_stays():
    class Branched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    class Choosing(Branched):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x  # cannot be traced

    for model in (Branched(), Choosing()):
        model = used(model.double(), None)
        assert pairs(model) == []
        plain, cheap = both(model, torch.rand(2, 2, 6, 6, dtype=torch.float64))
        torch.testing.assert_close(cheap, plain)


def test_weights_of_the_moment_are_folded_not_those_of_the_first_attack():
    model = used(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)), None)
    x = torch.rand(2, 2, 6, 6)
    both(model, x)
    with torch.no_grad():
        model[0].weight.mul_(2)
        model[1].running_var.mul_(3)
    plain, cheap = both(model, x)
    torch.testing.assert_close(cheap, plain)


def test_a_network_is_traced_once(monkeypatch):
    calls = []
    monkeypatch.setattr("certflow.models.fast.folding.normalised_convolutions", lambda model: calls.append(model) or [])
    model = torch.nn.Conv2d(2, 3, 3)
    for _ in range(3):
        with frozen(model):
            pass
    assert len(calls) == 1
    size = len(module._pairs)
    del model, calls[:]
    assert len(module._pairs) == size - 1  # what is known of a network goes with it


def test_nothing_is_left_behind_even_after_an_error():
    model = used(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout()), None)
    model[2].eval()
    model[0].bias.requires_grad_(False)
    before = [set(vars(part)) for part in model.modules()]
    with pytest.raises(KeyError), frozen(model):
        assert not any(part.training for part in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        raise KeyError
    assert [set(vars(part)) for part in model.modules()] == before
    assert [part.training for part in model] == [True, True, False]
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True]


def test_bfloat16_stays_with_torch():
    conv = torch.nn.Conv2d(1, 4, 3)
    with frozen(conv), torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(torch.rand(2, 1, 8, 8, requires_grad=True))
    assert out.dtype == torch.bfloat16
