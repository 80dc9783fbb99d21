"""A network's convolutions by C code of ours while it is trained on a CPU (`native: true` of a method).

3×3 and 5×5 convolutions, forwards and in both gradients, mostly by Winograd's algorithm with a quarter to a sixth of the
products; what pools them at once (`certflow.models.networks.pooling`) has gradients by sums over the few outputs that have one.
Modules are not changed: for the duration of a training instances carry another `_conv_forward`, and a function for what pools
them. torch's own `forward` calls the former with a weight and a bias, and so does a frozen network
(`certflow.training.fast.frozen`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from certflow.machine.native import compiler_of, require
from certflow.models.fast import pooled, winograd
from certflow.models.fast.folding import hooked
from certflow.models.fast.winograd import FEW, Shape, arranged, convolve, convolve_relu_pool, correlate, pays
from certflow.models.networks.pooling import TOGETHER


@contextmanager
def native(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On a CPU, our convolutions wherever they can be used and are worth it; `ConfigError` where there is no C compiler."""
    if device.type != "cpu":
        yield
        return
    for functions in (winograd.kernel(), pooled.kernel()):
        require(functions, "native")
    plain = [module for module in model.modules() if type(module) is nn.Conv2d and "_conv_forward" not in vars(module)]
    layers = [layer for layer in plain if _shape(layer) is not None]
    for layer in layers:
        vars(layer)["_conv_forward"] = _Native(layer)
        if "forward" not in vars(layer):
            vars(layer)[TOGETHER] = _ReluPool(layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["_conv_forward"]
            vars(layer).pop(TOGETHER, None)


def compilers() -> str:
    """Those that made our functions."""
    return "; ".join(sorted({compiler_of(functions) for functions in (winograd.kernel(), pooled.kernel())}))


def is_native(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether a convolution of these images is ours for now."""
    function = vars(module).get("_conv_forward")
    return function is not None and function.shape(x) is not None


def _shape(layer: nn.Conv2d) -> Shape | None:
    """That of a convolution that ours can do, as the layer is now."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or layer.weight.dtype != torch.float32:
        return None
    return Shape.of(layer.weight, layer.padding, layer.stride, layer.dilation, layer.groups)


def _shape_for(layer: nn.Conv2d, x: torch.Tensor) -> Shape | None:
    """The layer's shape where these are images that ours can convolve; a tracer's symbol is not, nor what torch refuses."""
    if not isinstance(x, torch.Tensor) or x.dim() != 4 or x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    shape = None if torch.is_autocast_enabled("cpu") else _shape(layer)
    return None if shape is None or x.shape[1] != shape.inputs else shape


class _Native:
    """`Conv2d._conv_forward` of a layer."""

    def __init__(self, layer: nn.Conv2d):
        self.layer, self.plain = layer, layer._conv_forward

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        shape = self.shape(x)
        return self.plain(x, weight, bias) if shape is None else _Convolution.apply(x, weight, bias, shape)

    def shape(self, x: torch.Tensor) -> Shape | None:
        """The layer's, where ours convolves these images; None: torch does."""
        shape = _shape_for(self.layer, x)
        return None if shape is None or not pays(shape, *map(shape.reach, x.shape[2:])) else shape


class _ReluPool:
    """ReLU of a layer's pooled outputs, as `certflow.models.networks.pooling` asks for it; None: by torch, one after the other.

    The layer's `forward` is passed over. A frozen network's may be another one: it does the same, or has a normalisation folded
    into it, and then nothing pools what it gives.
    """

    def __init__(self, layer: nn.Conv2d):
        self.layer = layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        shape = _shape_for(self.layer, x)
        if shape is None or hooked(self.layer):
            return None
        if not pays(shape, *map(shape.reach, x.shape[2:]), pooled=True):
            return None
        if max(x[:1].numel(), self.layer.weight.numel()) > pooled.MOST:
            return None
        return _PooledConvolution.apply(x, self.layer.weight, self.layer.bias, shape)


class _Convolution(torch.autograd.Function):
    """A convolution and its gradients by our code. With few input channels torch computes the gradient by the filters."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, shape: Shape
    ) -> torch.Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        ctx.shape = shape
        return convolve(x, arranged(weight), shape.constants(bias), shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor):
        (gradient,), (x, weight), shape = gradients, ctx.saved_tensors, ctx.shape
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            turned, filters = shape.transposed, arranged(weight.flip(2, 3).transpose(0, 1))
            by_x = convolve(gradient, filters, turned.constants(None), turned)
        if ctx.needs_input_grad[1]:
            by_weight = correlate(x, gradient, shape) if shape.inputs > FEW else _by_weight(x, weight, gradient, shape)
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum((0, 2, 3))
        return by_x, by_weight, by_bias, None


class _PooledConvolution(torch.autograd.Function):
    """ReLU of the pooled outputs of a convolution, and its gradients, by our code."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, shape: Shape
    ) -> torch.Tensor:
        y, chosen = convolve_relu_pool(x, arranged(weight), shape.constants(bias), shape)
        ctx.save_for_backward(x if any(ctx.needs_input_grad[1:3]) else None, weight, chosen)
        ctx.shape, ctx.size = shape, tuple(x.shape[2:])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor):
        (gradient,), (x, weight, chosen) = gradients, ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = pooled.by_images(gradient, chosen, weight, ctx.shape, ctx.size)
        if any(ctx.needs_input_grad[1:3]):
            by_weight, by_bias = pooled.by_filters(x, gradient, chosen, ctx.shape)
        return by_x, by_weight, by_bias if ctx.needs_input_grad[2] else None, None


def _by_weight(x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, shape: Shape) -> torch.Tensor:
    """torch's gradient by the filters [outputs, inputs, size, size]."""
    ones, wanted = [1, 1], [False, True, False]
    settings = (ones, [shape.padding, shape.padding], ones, False, [0, 0], 1)
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)[1]
