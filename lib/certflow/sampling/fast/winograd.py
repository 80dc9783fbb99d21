"""3×3 and 5×5 convolutions on a CPU with a fraction of the products (`winograd.c`): half the time of a residual network.

Winograd's algorithm computes the same convolution with other, larger rounding errors: some 1e-6 to 1e-5 of the largest value
where the plain sum has 1e-7. So a network says in its entry that it wants it (`inference: {native: true}`), and then it is an
error if no C compiler is there, since whether one is must not decide what is certified.

Source of algorithm and transforms: Lavin and Gray 2016, section 4. 3×3 has the points and the scaling of F(4×4, 3×3) there; 5×5
has those of the usual F(6×6, 3×3), whose tiles are as large.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import nn

from certflow.errors import ConfigError
from certflow.machine.native import Source, features, load
from certflow.sampling.fast.fusing import Convolution, FusedConv2d, Images, geometry_of

COLUMNS = 16
"""Outputs are summed by so many; filters and bias have zeros up to a multiple of it."""
FEW = 3
"""Up to so many input channels have a way of their own through the transforms, as in the file of C."""
SIDE = 4
"""Of the tiles of outputs."""
POINTS = {
    3: {0: 1 / 4, 1: -1 / 6, -1: -1 / 6, 2: 1 / 24, -2: 1 / 24},
    5: {0: 1, 1: -2 / 9, -1: -2 / 9, 2: 1 / 90, -2: 1 / 90, 1 / 2: 32 / 45, -1 / 2: 32 / 45},
}
"""Size of the filters → where the polynomial of a filter's line is evaluated → scale. The last point is infinity, where its
value is the leading coefficient."""


class WinogradConv2d(nn.Module):
    """What a convolution of float32 images on the CPU does, and what is fused into it; its result has channels last."""

    filters: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: Convolution):
        super().__init__()
        weight, bias = layer.weight.detach(), layer.bias
        self.outputs, self.inputs, self.size = weight.shape[:3]
        self.register_buffer("filters", arranged(weight))
        self.register_buffer("bias", whole(torch.zeros(self.outputs) if bias is None else bias.detach()))
        (self.padding, _), _, _, _ = geometry_of(layer)
        fused = isinstance(layer, FusedConv2d)
        self.relu, self.pool = fused and layer.after == "relu", fused and layer.pool

    def forward(self, x: Images, other: Images | None = None) -> Images:
        height, width = map(self._reach, x.shape[2:])
        y = torch.empty(len(x), self.outputs, height, width, memory_format=torch.channels_last)
        given = [t.contiguous(memory_format=torch.channels_last) for t in (x, other) if t is not None]
        threads = max(1, min(torch.get_num_threads(), len(x)))
        parts = zip(*(t.tensor_split(threads) for t in (y, *given)), strict=True)
        if threads == 1:
            self._write(*next(parts))
        else:
            list(_pool(threads).map(lambda part: self._write(*part), parts))
        return y

    def _reach(self, size: int) -> int:
        """Outputs along a side of the images."""
        outputs = size + 2 * self.padding - self.size + 1
        return outputs // 2 if self.pool else outputs

    def _write(self, y: torch.Tensor, x: torch.Tensor, other: torch.Tensor | None = None) -> None:
        """Write the images of one thread."""
        functions, (rows, _, height, width) = _needed(), x.shape
        sizes = (height, width, self.inputs, self.outputs, self.size, self.padding)
        scratch = torch.empty(functions.certflow_scratch(*sizes))
        tensors = [x, self.filters, self.bias, other, y, scratch]
        pointers = [None if t is None else t.data_ptr() for t in tensors]
        functions.certflow_convolve(*pointers, rows, *sizes, self.relu, self.pool)


def arranged(
    weight: Float[torch.Tensor, "outputs inputs size size"],
) -> Float[torch.Tensor, "points panels inputs 16"] | Float[torch.Tensor, "panels points inputs 16"]:
    """Filters at the points, from float64, in the order in which the function reads them: for few channels the second."""
    powers = range(weight.shape[2])
    finite = [[scale * point**power for power in powers] for point, scale in POINTS[weight.shape[2]].items()]
    lines = torch.tensor([*finite, [float(power == powers[-1]) for power in powers]], dtype=torch.float64)
    at_points = torch.einsum("ia,kcab,jb->kijc", lines, whole(weight.double()), lines).flatten(1, 2)
    order = (0, 2, 3, 1) if weight.shape[1] <= FEW else (2, 0, 3, 1)
    return at_points.unflatten(0, (-1, COLUMNS)).permute(order).float().contiguous()


def whole(values: torch.Tensor) -> torch.Tensor:
    """A copy with zeros up to a multiple of `COLUMNS` outputs."""
    more = -len(values) % COLUMNS
    return torch.cat([values, values.new_zeros(more, *values.shape[1:])])


@cache
def kernel() -> ctypes.CDLL | None:
    """The functions in C, compiled if they were not yet; None where they cannot be."""
    return load(source(), _declare)


def source() -> Source:
    """What the functions are compiled from, for this CPU."""
    folder = Path(__file__).parent
    return Source(folder / "winograd.c", features(), (folder / "products.h",))


def _declare(functions: ctypes.CDLL) -> None:
    """Say which arguments the functions take."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    functions.certflow_convolve.argtypes = (*[pointer] * 6, ctypes.c_int64, *[number] * 8)
    functions.certflow_convolve.restype = None
    functions.certflow_scratch.argtypes, functions.certflow_scratch.restype = [number] * 6, ctypes.c_int64


def _needed() -> ctypes.CDLL:
    """The functions; whoever makes such layers has asked whether they are there."""
    found = kernel()
    if found is None:
        raise ConfigError(["inference.native: a compiled kernel is gone; run again"])
    return found


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that share out the images of a batch; the functions run without Python's lock."""
    return ThreadPoolExecutor(threads, thread_name_prefix="convolutions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a child
