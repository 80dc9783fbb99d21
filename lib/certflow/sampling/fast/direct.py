"""Convolutions of few input channels with the pooling after them, on a CPU (`direct.c`): half the time of a grey image's.

The same products and sums as elsewhere, in the order of the filter's pixels.
"""

from typing import ClassVar

import torch
from jaxtyping import Float

from certflow.sampling.fast.fusing import FusedConv2d
from certflow.sampling.fast.native import COLUMNS, Convolution, NativeConv2d, whole

MOST = 3
"""With more input channels oneDNN's convolution is the faster one, pooling included."""


class DirectConv2d(NativeConv2d):
    """Filters of any size and stride on few channels."""

    source: ClassVar[str] = "direct.c"

    @staticmethod
    def fits(layer: Convolution) -> bool:
        return layer.weight.shape[1] <= MOST

    @staticmethod
    def pays(layer: Convolution, height: int, width: int) -> bool:
        """Whether pooling follows; what is gained is mostly that its input is not written to memory."""
        return isinstance(layer, FusedConv2d) and layer.pool

    @staticmethod
    def arranged(
        weight: Float[torch.Tensor, "outputs inputs size size"],
    ) -> Float[torch.Tensor, "panels size size inputs 16"]:
        return whole(weight).unflatten(0, (-1, COLUMNS)).permute(0, 3, 4, 2, 1).contiguous()
