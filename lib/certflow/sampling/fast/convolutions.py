"""The convolutions of a network by C code of ours, where it is the faster one (`inference: {native: true}`)."""

from typing import cast

import torch
from torch import nn

from certflow.models.fast.winograd import Images, Shape, arranged, convolve, pays
from certflow.sampling.fast.fusing import Convolution, FusedConv2d, geometry_of, is_plain

SIZES = {torch.float32: (3, 5), torch.bfloat16: (5,)}
"""Precision → sizes of filters for which ours is the faster one. Units for bfloat16 do 3×3 in the same time or less."""


class WinogradConv2d(nn.Module):
    """What a convolution of images on the CPU does, and what is fused into it; its result has channels last.

    In bfloat16 as in float32 it is computed in float32; images, weights and result have the precision's digits.
    """

    filters: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: Convolution, shape: Shape):
        super().__init__()
        self.shape, self.dtype = shape, layer.weight.dtype
        self.register_buffer("filters", arranged(layer.weight.detach().double()))
        self.register_buffer("bias", shape.constants(None if layer.bias is None else layer.bias.detach()))
        fused = isinstance(layer, FusedConv2d)
        self.relu, self.pool = fused and layer.after == "relu", fused and layer.pool

    def forward(self, x: Images, other: Images | None = None) -> Images:
        other = None if other is None else self._exact(other)
        y = convolve(self._exact(x), self.filters, self.bias, self.shape, other, relu=self.relu, pool=self.pool)
        return y.to(self.dtype)

    def _exact(self, x: Images) -> Images:
        """Numbers of the precision as float32 ones; others are left for `convolve` to refuse."""
        return x.float() if x.dtype == self.dtype else x


def shape_of(layer: nn.Module) -> Shape | None:
    """That of a convolution that ours can do; None for any other layer."""
    if not (isinstance(layer, FusedConv2d) or is_plain(layer)) or layer.weight.dtype not in SIZES:
        return None
    return Shape.of(layer.weight, *geometry_of(layer))


def replace_convolutions(network: nn.Module, x: torch.Tensor) -> int:
    """Replace every convolution that can be, in place; how many were. x: images, to find out how large those inside are."""
    candidates = {name: shape for name, layer in network.named_modules() if (shape := shape_of(layer)) is not None}
    sizes: dict[str, torch.Size] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda layer, given, y, name=name: sizes.update({name: y.shape[2:]})
        )
        for name in candidates
    ]
    try:
        with torch.inference_mode():
            network(x.clone())
    finally:
        for hook in hooks:
            hook.remove()
    count = 0
    for name, (height, width) in sizes.items():
        layer, shape = cast(Convolution, network.get_submodule(name)), candidates[name]
        if _pays(layer, shape, height, width):
            network.set_submodule(name, WinogradConv2d(layer, shape))
            count += 1
    return count


def _pays(layer: Convolution, shape: Shape, height: int, width: int) -> bool:
    """Whether ours should be used. height, width: of the layer's outputs, after pooling."""
    if shape.size not in SIZES[layer.weight.dtype]:
        return False
    pooled = isinstance(layer, FusedConv2d) and layer.pool
    side = 2 if pooled else 1
    return pays(shape, side * height, side * width, pooled=pooled)
