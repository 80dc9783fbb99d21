"""A network's convolutions by C code of ours while it is trained on a CPU (`native: true` of a method).

3×3 and 5×5 convolutions, forwards and in both gradients, mostly by Winograd's algorithm with a quarter to a sixth of the
products; what pools them at once (`certflow.models.networks.pooling`) has gradients by sums over the few outputs that have one.
Modules are not changed: for the duration of a training instances carry another `_conv_forward`. torch's own `forward` calls it
with a weight and a bias, and so does a frozen network (`certflow.training.fast.frozen`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from certflow.models.fast import pooled, winograd
from certflow.models.fast.folding import hooked
from certflow.models.fast.sharing import require
from certflow.models.fast.winograd import FEW, Shape, arranged, convolve, correlate, pays


@contextmanager
def native(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On a CPU, our convolutions wherever they can be used and are worth it; `ConfigError` where there is no C compiler."""
    if device.type != "cpu":
        yield
        return
    for functions in (winograd.kernel(), pooled.kernel()):
        require(functions, "native")
    shapes = {module: shape for module in model.modules() if (shape := _shape(module)) is not None}
    for module, shape in shapes.items():
        vars(module)["_conv_forward"] = _Native(cast(Any, module)._conv_forward, shape)
        vars(module)["_relu_pool"] = _ReluPool(cast(nn.Conv2d, module), shape)
    try:
        yield
    finally:
        for module in shapes:
            del vars(module)["_conv_forward"], vars(module)["_relu_pool"]


def is_native(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether a convolution of these images is ours for now."""
    function = vars(module).get("_conv_forward")
    return function is not None and function.takes(x)


def _shape(module: nn.Module) -> Shape | None:
    """That of a convolution that ours can do, and is not already."""
    if type(module) is not nn.Conv2d or "_conv_forward" in vars(module):
        return None
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    return Shape.of(module.weight, module.padding, module.stride, module.dilation, module.groups)


class _Native:
    """`Conv2d._conv_forward` of a layer, of which `plain` is torch's."""

    def __init__(self, plain: Callable[..., torch.Tensor], shape: Shape):
        self.plain, self.shape = plain, shape

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if not self.takes(x):
            return self.plain(x, weight, bias)
        return _Convolution.apply(x, weight, bias, self.shape)

    def takes(self, x: torch.Tensor) -> bool:
        """Whether these images are convolved by ours; what torch refuses is left to torch."""
        return _ours(self.shape, x) and pays(self.shape, *map(self.shape.reach, x.shape[2:]))


class _ReluPool:
    """ReLU of the pooled outputs of a layer, as `certflow.models.networks.pooling` asks for it."""

    def __init__(self, layer: nn.Conv2d, shape: Shape):
        self.layer, self.shape = layer, shape

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _PooledConvolution.apply(x, self.layer.weight, self.layer.bias, self.shape)

    def takes(self, x: torch.Tensor) -> bool:
        """Whether these images are ours, and nobody looks at the outputs before they are pooled."""
        if not _ours(self.shape, x) or hooked(self.layer):
            return False
        height, width = map(self.shape.reach, x.shape[2:])
        return min(height, width) >= 2 and pays(self.shape, height, width, pooled=True)


def _ours(shape: Shape, x: torch.Tensor) -> bool:
    """Whether these are images that a convolution of ours can take; a tracer's symbol is not."""
    batch = isinstance(x, torch.Tensor) and x.dim() == 4 and x.shape[1] == shape.inputs
    return batch and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


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
        down, across = (shape.reach(side) // 2 for side in x.shape[2:])
        chosen = torch.empty(len(x), shape.outputs, down, across, dtype=torch.uint8, memory_format=torch.channels_last)
        y = convolve(x, arranged(weight), shape.constants(bias), shape, relu=True, pool=True, chosen=chosen)
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
