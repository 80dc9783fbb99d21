"""A network as attacks use it: eval mode, fixed parameters, and gradients by the input as cheap as they get.

An attack passes through the same network many times before its parameters change, and needs the gradient by the input alone. So
batch normalisation in eval mode is folded into the convolution before it, once per attack; and a convolution of single-channel
images takes its gradient by a product of matrices and a fold on a CPU, where torch's own, blocked over input channels, takes
three times as long (half of an attack's time on the 20-50-500 LeNet; with three channels torch's is the faster one). Both are
exact up to rounding. What is native (`certflow.training.fast.convolutions`) stays so. Modules are not changed: for the duration
of an attack instances carry another `forward`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn

from certflow.models.modes import in_mode
from certflow.training.fast.convolutions import is_native

_pairs: WeakKeyDictionary[nn.Module, list[tuple[nn.Conv2d, nn.BatchNorm2d]]] = WeakKeyDictionary()
"""Network → its convolutions that a batch normalisation reads alone; found once, since finding takes a symbolic trace."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for parameters, at two thirds of the cost or less; everything is put back afterwards."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with in_mode(model, training=False):
        for parameter in parameters:
            parameter.requires_grad_(False)
        replaced = _replace(model)
        try:
            yield
        finally:
            for module in replaced:
                del module.forward
            for parameter in parameters:
                parameter.requires_grad_(True)


def _replace(model: nn.Module) -> list[nn.Module]:
    """Give convolutions and the normalisations folded into them another `forward`; the modules that got one."""
    replaced = []
    for convolution, norm in pairs(model):
        weight, bias = folded(convolution, norm)
        _set_forward(convolution, partial(_convolve, convolution, weight, bias))
        _set_forward(norm, _unchanged)
        replaced += [convolution, norm]
    for module in model.modules():
        if _single_channel(module) and "forward" not in vars(module):
            _set_forward(module, partial(_convolve, module, module.weight, module.bias))
            replaced.append(module)
    return replaced


def _set_forward(module: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """On the module alone, before that of its class."""
    vars(module)["forward"] = forward


def pairs(model: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch normalisations with fixed statistics that alone read them; none where tracing fails."""
    if model not in _pairs:
        from certflow.models.fast.folding import normalised_convolutions

        _pairs[model] = [
            (convolution, norm)
            for convolution, norm in normalised_convolutions(model)
            if type(norm) is nn.BatchNorm2d and convolution.padding_mode == "zeros"
        ]
    return _pairs[model]


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """w' = w·γ/√(v+ε) and b' = β + (b − μ)·γ/√(v+ε), detached, in the layout of w."""
    with torch.no_grad():
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise ValueError("batch normalisation without running statistics is not one fixed function")
        scale = (variance + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        bias = -mean if convolution.bias is None else convolution.bias - mean
        bias = bias * scale if norm.bias is None else torch.addcmul(norm.bias, bias, scale)
        return convolution.weight * scale[:, None, None, None], bias


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _single_channel(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(module) is nn.Conv2d and module.in_channels == 1 and module.padding_mode == "zeros"


def _convolve(module: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """`module` with this weight and bias."""
    if _fold_pays(module, x) and not is_native(module, x):
        settings: dict[str, Any] = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
        return _Convolution.apply(x, weight, bias, settings)
    return module._conv_forward(x, weight, bias)


def _fold_pays(module: nn.Conv2d, x: torch.Tensor) -> bool:
    wanted = (
        torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    )
    return wanted and module.in_channels == 1 and not isinstance(module.padding, str)


class _Convolution(torch.autograd.Function):
    """`F.conv2d` whose backward pass gives the gradient by the input alone."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, settings: dict
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.settings = x.shape[2:], settings
        return F.conv2d(x, weight, bias, **settings)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor):
        (gradient,) = gradients
        (weight,) = ctx.saved_tensors
        columns = weight.flatten(1).t() @ gradient.flatten(2)
        return F.fold(columns, ctx.size, weight.shape[2:], **ctx.settings), None, None, None
