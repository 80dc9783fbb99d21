"""Group normalisation of channels-last images on a CPU, and the activation after it.

torch's own kernel for this layout goes through small images group by group: with few channels in a group it reads memory in
steps of some 8 to 60 bytes, which takes up to 20 times as long as in the contiguous layout, and twice that in bfloat16. From
1024 pixels on it goes through whole pixels and is fast. The convolutions before and after are fastest in this layout, so here
small images are gone through by whole pixels too, as many images at a time as stay in the cache.
"""

import itertools
from typing import TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.models.fast.folding import hooked

LARGE = 1024
"""Images of so many pixels or more are left to torch,"""
WIDE = 16
"""and so are groups of so many channels or more."""
VALUES = 1 << 17
"""Values that are worked on at a time (512 KiB)."""

Pixels = Float[torch.Tensor, "rows pixels channels"]


class ChannelsLastGroupNorm(nn.Module):
    """activation(norm(x)), whose weights it shares. Statistics, and all until the result is stored, are in float32."""

    opaque = True

    def __init__(self, norm: nn.GroupNorm, activation: nn.Module | None = None):
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if not last or x.shape[2] * x.shape[3] >= LARGE or x.device.type != "cpu":
            return self.activation(F.group_norm(x, self.groups, self.weight, self.bias, self.eps))
        out = torch.empty_like(x)
        rows = max(1, VALUES // x[0].numel())
        for given, wanted in zip(_pixels(x).split(rows), _pixels(out).split(rows), strict=True):
            self._store(given, wanted)
        return out

    def _store(self, x: Pixels, out: Pixels) -> None:
        """(x − mean)·scale + bias; the variance is that of x − mean, so that a large mean takes no digits from it."""
        values = x.float()
        centred = out if out.dtype == torch.float32 else torch.empty_like(values)
        torch.sub(values, self._group_means(values), out=centred)
        scale = (self._group_means(centred * centred) + self.eps).rsqrt_()
        if self.weight is None:
            centred.mul_(scale)
        else:
            torch.addcmul(self.bias.float(), centred, scale * self.weight.float(), out=centred)
        result = self.activation(centred)
        if result is not out:
            out.copy_(result)

    def _group_means(self, values: Pixels) -> Float[torch.Tensor, "rows one channels"]:
        """The mean over pixels and channels of each group, at every channel of it."""
        means = values.mean(dim=1, keepdim=True).unflatten(2, (self.groups, -1))
        return means.mean(dim=3, keepdim=True).expand_as(means).flatten(2)


def _pixels(x: torch.Tensor) -> Pixels:
    """The same memory, pixel by pixel."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def replace_group_norms(network: nn.Module) -> None:
    """Put ours, in place, where torch's is slow on small channels-last images on a CPU: a rule on the layer's shape alone.

    Where SiLU follows in a `nn.Sequential`, that goes into it too.
    """
    for part in list(network.modules()):
        if type(part) is nn.Sequential:
            _join_activations(part)
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if name and _narrow(layer):
            network.set_submodule(name, ChannelsLastGroupNorm(layer))


def _join_activations(layers: nn.Sequential) -> None:
    for first, second in itertools.pairwise(range(len(layers))):
        layer = layers[first]
        if _narrow(layer) and type(layers[second]) is nn.SiLU and not hooked(layers[second]):
            layers[first] = ChannelsLastGroupNorm(layer, nn.SiLU(inplace=True))
            layers[second] = nn.Identity()


def _narrow(layer: nn.Module) -> TypeGuard[nn.GroupNorm]:
    return type(layer) is nn.GroupNorm and layer.num_channels // layer.num_groups < WIDE and not hooked(layer)
