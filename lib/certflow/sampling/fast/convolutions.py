"""The convolutions of a network by C code of ours, where it is the faster one (`inference: {native: true}`)."""

from typing import TypeGuard

import torch
from torch import nn

from certflow.sampling.fast.direct import DirectConv2d
from certflow.sampling.fast.fusing import FusedConv2d, is_plain
from certflow.sampling.fast.native import Convolution, NativeConv2d, geometry, library
from certflow.sampling.fast.winograd import WinogradConv2d

ALGORITHMS: tuple[type[NativeConv2d], ...] = (WinogradConv2d, DirectConv2d)
"""The first that fits and pays is taken."""


def available() -> bool:
    """Whether all of them are there (compiles what was not yet)."""
    return all(library(algorithm) is not None for algorithm in ALGORITHMS)


def replace_convolutions(network: nn.Module, x: torch.Tensor) -> int:
    """Replace every convolution that can be, in place; how many were. x: images, to find out how large those inside are."""
    candidates = {name: layer for name, layer in network.named_modules() if _is_candidate(layer)}
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
    chosen = {name: _algorithm(candidates[name], *size) for name, size in sizes.items()}
    replaced = {name: algorithm(candidates[name]) for name, algorithm in chosen.items() if algorithm is not None}
    for name, layer in replaced.items():
        network.set_submodule(name, layer)
    return len(replaced)


def _is_candidate(layer: nn.Module) -> TypeGuard[Convolution]:
    """Whether a layer is a float32 convolution like those that all algorithms are for: square, neither dilated nor grouped."""
    if not (isinstance(layer, FusedConv2d) or is_plain(layer)):
        return False
    padding, stride, dilation, groups = geometry(layer)
    square = all(pair[0] == pair[1] for pair in (padding, stride, layer.weight.shape[2:]))
    return square and (dilation, groups) == ([1, 1], 1) and layer.weight.dtype == torch.float32


def _algorithm(layer: Convolution, height: int, width: int) -> type[NativeConv2d] | None:
    """height, width: of the layer's outputs."""
    half = 2 if isinstance(layer, FusedConv2d) and layer.pool else 1
    usable = (one for one in ALGORITHMS if one.fits(layer) and one.pays(layer, half * height, half * width))
    return next(usable, None)
