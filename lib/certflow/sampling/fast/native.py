"""What the convolutions in C have in common (`products.h`): float32 images on the CPU, channels last."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from certflow.errors import ConfigError
from certflow.machine.native import Source, load
from certflow.sampling.fast.fusing import FusedConv2d, Images, geometry_of

FEATURES = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")}
"""What torch has found the CPU to have → the compiler's flags for it."""
COLUMNS = 16
"""Outputs are summed by so many; filters and bias have zeros up to a multiple of it."""

Convolution = nn.Conv2d | FusedConv2d


class NativeConv2d(nn.Module):
    """What a convolution does, by an algorithm that a subclass states: a file of C, and filters as it reads them."""

    filters: torch.Tensor
    bias: torch.Tensor
    source: ClassVar[str]
    """The file of C."""

    def __init__(self, layer: Convolution):
        super().__init__()
        weight, bias = layer.weight.detach(), layer.bias
        self.outputs, self.inputs, self.size = weight.shape[:3]
        self.register_buffer("filters", self.arranged(weight))
        self.register_buffer("bias", whole(torch.zeros(self.outputs) if bias is None else bias.detach()))
        (self.padding, _), (self.stride, _), _, _ = geometry(layer)
        fused = isinstance(layer, FusedConv2d)
        self.relu, self.pool = fused and layer.after == "relu", fused and layer.pool

    @staticmethod
    def fits(layer: Convolution) -> bool:
        """Whether the algorithm can do what a convolution does. Its filters are square, as are padding and stride."""
        raise NotImplementedError

    @staticmethod
    def pays(layer: Convolution, height: int, width: int) -> bool:
        """Whether it is the faster one for outputs of this size, before pooling."""
        raise NotImplementedError

    @staticmethod
    def arranged(weight: torch.Tensor) -> torch.Tensor:
        """Filters in the order in which the function reads them."""
        raise NotImplementedError

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
        outputs = (size + 2 * self.padding - self.size) // self.stride + 1
        return outputs // 2 if self.pool else outputs

    def _write(self, y: torch.Tensor, x: torch.Tensor, other: torch.Tensor | None = None) -> None:
        """Write the images of one thread."""
        functions, (rows, _, height, width) = _needed(type(self)), x.shape
        sizes = (height, width, self.inputs, self.outputs, self.size)
        scratch = torch.empty(functions.certflow_scratch(*sizes, self.padding))
        tensors = [x, self.filters, self.bias, other, y, scratch]
        pointers = [None if t is None else t.data_ptr() for t in tensors]
        functions.certflow_convolve(*pointers, rows, *sizes, self.stride, self.padding, self.relu, self.pool)

    def extra_repr(self) -> str:
        what = f"{self.inputs} → {self.outputs}, {self.size}×{self.size}, padding {self.padding}, stride {self.stride}"
        return what + (", then relu" if self.relu else "") + (", pooled" if self.pool else "")


def geometry(layer: Convolution) -> tuple[list[int], list[int], list[int], int]:
    """Padding, stride, dilation and groups."""
    return layer.geometry if isinstance(layer, FusedConv2d) else geometry_of(layer)


def whole(values: torch.Tensor) -> torch.Tensor:
    """A copy with zeros up to a multiple of `COLUMNS` outputs."""
    more = -len(values) % COLUMNS
    return torch.cat([values, values.new_zeros(more, *values.shape[1:])])


@cache
def library(algorithm: type[NativeConv2d]) -> ctypes.CDLL | None:
    """The functions of an algorithm, compiled if they were not yet; None where they cannot be."""
    return load(source_of(algorithm), _declare)


def source_of(algorithm: type[NativeConv2d]) -> Source:
    """What the functions of an algorithm are compiled from, for this CPU."""
    features, folder = FEATURES.get(torch.backends.cpu.get_cpu_capability(), ()), Path(__file__).parent
    return Source(folder / algorithm.source, features, (folder / "products.h",))


def _declare(functions: ctypes.CDLL) -> None:
    """Say which arguments the functions of `products.h` take."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    functions.certflow_convolve.argtypes = (*[pointer] * 6, ctypes.c_int64, *[number] * 9)
    functions.certflow_convolve.restype = None
    functions.certflow_scratch.argtypes, functions.certflow_scratch.restype = [number] * 6, ctypes.c_int64


def _needed(algorithm: type[NativeConv2d]) -> ctypes.CDLL:
    """The functions of an algorithm; whoever makes such layers has asked whether they are there."""
    found = library(algorithm)
    if found is None:
        raise ConfigError(["inference.native: a compiled kernel is gone; run again"])
    return found


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that share out the images of a batch; the functions run without Python's lock."""
    return ThreadPoolExecutor(threads, thread_name_prefix="convolutions")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a child
