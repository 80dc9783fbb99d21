"""The fast gradient by the input of single-channel convolutions: torch's values, and no trace left."""

import pytest
import torch

from lib.training.input_gradient import fast_input_gradients


def both(model, x):
    """Gradients by the input of a weighted sum of the output, by torch and by the fast path; and the outputs."""
    model.requires_grad_(False)
    results = []
    for fast in (False, True):
        leaf = x.clone().requires_grad_()
        if fast:
            with fast_input_gradients(model):
                out = model(leaf)
        else:
            out = model(leaf)
        weights = torch.sin(torch.arange(float(out.numel()))).to(out.dtype).view_as(out)
        results.append((out, torch.autograd.grad((out * weights).sum(), leaf)[0]))
    return results


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
def test_gradient_is_torchs(settings, layout):
    conv = torch.nn.Conv2d(1, 7, **settings).double().to(memory_format=layout)
    x = torch.rand(4, 1, 11, 9, dtype=torch.float64).contiguous(memory_format=layout)
    (out, expected), (fast, found) = both(conv, x)
    assert type(fast.grad_fn).__name__ == "_ConvolutionBackward"
    assert torch.equal(out, fast)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.Conv2d(1, 4, 3, padding="same"),
        torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
    ],
)
def test_other_convolutions_are_torchs_own(conv):
    _, (out, _) = both(conv, torch.rand(2, conv.in_channels, 8, 8))
    assert type(out.grad_fn).__name__ != "_ConvolutionBackward"


def test_weights_that_want_a_gradient_get_it_and_nothing_is_left_behind():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    before = [set(vars(module)) for module in model.modules()]
    with pytest.raises(KeyError), fast_input_gradients(model):
        model(torch.rand(2, 1, 8, 8, requires_grad=True)).sum().backward()
        raise KeyError
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert [set(vars(module)) for module in model.modules()] == before


def test_bfloat16_stays_with_torch():
    conv = torch.nn.Conv2d(1, 4, 3).requires_grad_(False)
    with fast_input_gradients(conv), torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(torch.rand(2, 1, 8, 8, requires_grad=True))
    assert out.dtype == torch.bfloat16
