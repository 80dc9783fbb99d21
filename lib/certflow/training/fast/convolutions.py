"""A network's convolutions by C code of ours while it is trained on a CPU (`native: true` of a method).

3×3 and 5×5 convolutions, forwards and in both gradients, mostly by Winograd's algorithm with a quarter to a sixth of the
products. Modules are not changed: for the duration of a training instances carry another `_conv_forward`. torch's own `forward`
calls it with a weight and a bias, and so does a frozen network (`certflow.training.fast.frozen`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from certflow.models.fast.winograd import FEW, Shape, arranged, convolve, correlate, pays, require_kernel


@contextmanager
def native(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On a CPU, our convolutions wherever they can be used and are worth it; `ConfigError` where there is no C compiler."""
    if device.type != "cpu":
        yield
        return
    require_kernel("native")
    shapes = {module: shape for module in model.modules() if (shape := _shape(module)) is not None}
    for module, shape in shapes.items():
        vars(module)["_conv_forward"] = _Native(cast(Any, module)._conv_forward, shape)
    try:
        yield
    finally:
        for module in shapes:
            del vars(module)["_conv_forward"]


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
        batch = x.dim() == 4 and x.shape[1] == self.shape.inputs
        ours = batch and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return ours and pays(self.shape, *map(self.shape.reach, x.shape[2:]))


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


def _by_weight(x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, shape: Shape) -> torch.Tensor:
    """torch's gradient by the filters [outputs, inputs, size, size]."""
    ones, wanted = [1, 1], [False, True, False]
    settings = (ones, [shape.padding, shape.padding], ones, False, [0, 0], 1)
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)[1]
