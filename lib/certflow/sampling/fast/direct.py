"""Convolutions of few input channels with the pooling after them, on a CPU (`direct.c`): half the time of a grey image's.

The same products and sums as elsewhere, in the order of the filter's pixels.
"""

import ctypes
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
    def declare(library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        library.certflow_convolve_directly.argtypes = (*[pointer] * 6, ctypes.c_int64, *[number] * 9)
        library.certflow_convolve_directly.restype = None
        library.certflow_directly_scratch.argtypes = [number] * 5
        library.certflow_directly_scratch.restype = ctypes.c_int64

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

    def scratch(self, library: ctypes.CDLL, height: int, width: int) -> int:
        sizes = (height, width, self.inputs, self.outputs, self.padding)
        return library.certflow_directly_scratch(*sizes)

    def convolve(self, library: ctypes.CDLL, pointers: list[int | None], rows: int, height: int, width: int) -> None:
        sizes = (rows, height, width, self.inputs, self.outputs, self.size, self.stride, self.padding)
        library.certflow_convolve_directly(*pointers, *sizes, self.relu, self.pool)
