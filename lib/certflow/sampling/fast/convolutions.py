"""The convolutions of a network by C code of ours, where it is the faster one (`inference: {native: true}`)."""

import torch
from torch import nn

from certflow.models.fast.winograd import Images, Shape, arranged, convolve, pays, whole
from certflow.sampling.fast.fusing import Convolution, FusedConv2d, geometry_of, is_plain


class WinogradConv2d(nn.Module):
    """What a convolution of float32 images on the CPU does, and what is fused into it; its result has channels last."""

    filters: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: Convolution, shape: Shape):
        super().__init__()
        self.shape = shape
        self.register_buffer("filters", arranged(layer.weight.detach().double()))
        self.register_buffer("bias", whole(torch.zeros(shape.outputs) if layer.bias is None else layer.bias.detach()))
        fused = isinstance(layer, FusedConv2d)
        self.relu, self.pool = fused and layer.after == "relu", fused and layer.pool

    def forward(self, x: Images, other: Images | None = None) -> Images:
        return convolve(x, self.filters, self.bias, self.shape, other, relu=self.relu, pool=self.pool)


def replaced(layer: nn.Module) -> WinogradConv2d | None:
    """What computes the same as a layer; None where that is no convolution that the algorithm can do."""
    if not (isinstance(layer, FusedConv2d) or is_plain(layer)):
        return None
    shape = Shape.of(layer.weight, *geometry_of(layer))
    return None if shape is None else WinogradConv2d(layer, shape)


def replace_convolutions(network: nn.Module, x: torch.Tensor) -> int:
    """Replace every convolution that can be, in place; how many were. x: images, to find out how large those inside are."""
    candidates = {name: ours for name, layer in network.named_modules() if (ours := replaced(layer)) is not None}
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
    faster = [name for name, (height, width) in sizes.items() if _pays(candidates[name], height, width)]
    for name in faster:
        network.set_submodule(name, candidates[name])
    return len(faster)


def _pays(ours: WinogradConv2d, height: int, width: int) -> bool:
    """Whether ours is the faster one. height, width: of the layer's outputs, after pooling."""
    side = 2 if ours.pool else 1
    return pays(ours.shape, side * height, side * width, pooled=ours.pool)
