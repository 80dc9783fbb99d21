"""The convolutions of a network by C code of ours, where it is the faster one (`inference: {native: true}`)."""

from typing import TypeGuard

import torch
from torch import nn

from certflow.sampling.fast.fusing import Convolution, FusedConv2d, geometry_of, is_plain
from certflow.sampling.fast.winograd import FEW, POINTS, SIDE, WinogradConv2d

LEAST = 16
"""With fewer channels the transforms cost more than the products."""
WASTE = 2.0
"""Images that do not fill the tiles: so many times as many outputs as are wanted may be computed."""


def replace_convolutions(network: nn.Module, x: torch.Tensor) -> int:
    """Replace every convolution that can be, in place; how many were. x: images, to find out how large those inside are."""
    candidates = {name: layer for name, layer in network.named_modules() if _fits(layer)}
    sizes: dict[str, torch.Size] = {}
    hooks = [
        layer.register_forward_hook(lambda layer, given, y, name=name: sizes.update({name: y.shape[2:]}))
        for name, layer in candidates.items()
    ]
    try:
        with torch.inference_mode():
            network(x.clone())
    finally:
        for hook in hooks:
            hook.remove()
    replaced = [name for name, (height, width) in sizes.items() if _pays(candidates[name], height, width)]
    for name in replaced:
        network.set_submodule(name, WinogradConv2d(candidates[name]))
    return len(replaced)


def _fits(layer: nn.Module) -> TypeGuard[Convolution]:
    """Whether a layer is a convolution that the algorithm can do: square, float32, neither strided nor dilated nor grouped."""
    if not (isinstance(layer, FusedConv2d) or is_plain(layer)):
        return False
    size, (padding, stride, dilation, groups) = layer.weight.shape[2:], geometry_of(layer)
    square = size[0] == size[1] and padding[0] == padding[1]
    return (
        square
        and (stride, dilation, groups) == ([1, 1], [1, 1], 1)
        and layer.weight.dtype == torch.float32
        and size[0] in POINTS
        and padding[0] < size[0]
    )


def _pays(layer: Convolution, height: int, width: int) -> bool:
    """Whether the algorithm is the faster one. height, width: of the layer's outputs, after pooling."""
    outputs, inputs = layer.weight.shape[:2]
    pool = isinstance(layer, FusedConv2d) and layer.pool
    enough = (pool or outputs >= LEAST) if inputs <= FEW else min(outputs, inputs) >= LEAST
    high, wide = (2 * height, 2 * width) if pool else (height, width)
    return enough and SIDE**2 * -(-high // SIDE) * -(-wide // SIDE) <= WASTE * high * wide
