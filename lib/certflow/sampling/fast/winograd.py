"""3×3 and 5×5 convolutions on a CPU with a fraction of the products (`winograd.c`): half the time of a residual network.

Winograd's algorithm computes the same convolution with other, larger rounding errors: some 1e-5 of the values where the plain
sum has 1e-6. So a network says in its entry that it wants it (`inference: {winograd: true}`), and then it is an error if no C
compiler is there, since whether one is must not decide what is certified.

Source of algorithm and transforms: Lavin and Gray 2016, section 4. Both sizes have the points and the scaling of F(4×4, 3×3)
there.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import nn

from certflow.errors import ConfigError
from certflow.machine.native import Source, load
from certflow.sampling.fast.fusing import FusedConv2d, geometry_of, is_plain

FEATURES = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")}
"""What torch has found the CPU to have → the compiler's flags for it."""
LEAST = 16
"""Convolutions with fewer channels gain nothing: the transforms cost more than the products."""
COLUMNS = 16
"""Outputs are stored by so many; filters and bias have zeros up to a multiple of it."""
SIDES = {3: 4, 5: 2}
"""Size of the filters → of the tiles of outputs."""
WASTE = 2.0
"""Images that do not fill the tiles: so many times as many outputs as are wanted may be computed."""
POINTS = {0: 1 / 4, 1: -1 / 6, -1: -1 / 6, 2: 1 / 24, -2: 1 / 24}
"""Where the polynomial of a filter's line is evaluated → scale; the sixth point is infinity, its leading coefficient."""

Images = Float[torch.Tensor, "rows channels height width"]


class WinogradConv2d(nn.Module):
    """relu(conv(x) + other), each of the two optional, of float32 images on the CPU; 3×3 or 5×5, stride 1."""

    filters: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: nn.Conv2d | FusedConv2d):
        super().__init__()
        weight, bias = layer.weight.detach(), layer.bias
        self.outputs, self.inputs, self.size = weight.shape[:3]
        self.register_buffer("filters", transformed(weight))
        self.register_buffer("bias", _whole(torch.zeros(self.outputs) if bias is None else bias.detach()))
        self.padding = _geometry(layer)[0][0]
        self.relu = isinstance(layer, FusedConv2d) and layer.after == "relu"

    def forward(self, x: Images, other: Images | None = None) -> Images:
        rows, _, height, width = x.shape
        more = 2 * self.padding - self.size + 1
        y = torch.empty(rows, self.outputs, height + more, width + more, memory_format=torch.channels_last)
        given = [t.contiguous(memory_format=torch.channels_last) for t in (x, other) if t is not None]
        threads = max(1, min(torch.get_num_threads(), rows))
        parts = zip(*(t.tensor_split(threads) for t in (y, *given)), strict=True)
        if threads == 1:
            self._write(*next(parts))
        else:
            list(_pool(threads).map(lambda part: self._write(*part), parts))
        return y

    def _write(self, y: torch.Tensor, x: torch.Tensor, other: torch.Tensor | None = None) -> None:
        """Write the images of one thread."""
        kernel, (rows, _, height, width) = _kernel(), x.shape
        scratch = torch.empty(kernel.certflow_scratch(self.inputs, self.outputs))
        read = [x, self.filters, self.bias, other]
        pointers = [None if t is None else t.data_ptr() for t in (*read, y, scratch)]
        sizes = (rows, height, width, self.inputs, self.outputs, self.size, self.padding)
        kernel.certflow_convolve(*pointers, *sizes, self.relu)

    def extra_repr(self) -> str:
        what = f"{self.inputs} → {self.outputs}, {self.size}×{self.size}, padding {self.padding}"
        return f"{what}{', then relu' if self.relu else ''}"


def available() -> bool:
    """Whether the kernel is there (compiles it if it was not yet)."""
    return _library() is not None


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
    chosen = [name for name, size in sizes.items() if _pays(*size, SIDES[candidates[name].weight.shape[2]])]
    for name in chosen:
        network.set_submodule(name, WinogradConv2d(candidates[name]))
    return len(chosen)


def transformed(weight: Float[torch.Tensor, "outputs inputs size size"]) -> Float[torch.Tensor, "36 panels inputs 16"]:
    """Filters at the 6×6 points, computed in float64, in the order in which the kernel reads them."""
    powers = range(weight.shape[2])
    finite = [[scale * point**power for power in powers] for point, scale in POINTS.items()]
    lines = torch.tensor([*finite, [float(power == powers[-1]) for power in powers]], dtype=torch.float64)
    at_points = torch.einsum("ia,kcab,jb->kijc", lines, _whole(weight.double()), lines).flatten(1, 2)
    return at_points.unflatten(0, (-1, COLUMNS)).permute(2, 0, 3, 1).float().contiguous()


def _whole(values: torch.Tensor) -> torch.Tensor:
    """A copy with zeros up to a multiple of `COLUMNS` outputs."""
    more = -len(values) % COLUMNS
    return torch.cat([values, values.new_zeros(more, *values.shape[1:])])


def _fits(layer: nn.Module) -> TypeGuard[nn.Conv2d | FusedConv2d]:
    if not (isinstance(layer, FusedConv2d) or is_plain(layer)):
        return False
    padding, stride, dilation, groups = _geometry(layer)
    outputs, inputs, *kernel = layer.weight.shape
    square = kernel[0] == kernel[1] in SIDES and padding[0] == padding[1] < kernel[0]
    plain = (stride, dilation, groups) == ([1, 1], [1, 1], 1)
    return square and plain and min(outputs, inputs) >= LEAST and layer.weight.dtype == torch.float32


def _geometry(layer: nn.Conv2d | FusedConv2d) -> tuple[list[int], list[int], list[int], int]:
    return layer.geometry if isinstance(layer, FusedConv2d) else geometry_of(layer)


def _pays(height: int, width: int, tile: int) -> bool:
    """Whether outputs of this size fill most of the tiles."""
    return tile**2 * -(-height // tile) * -(-width // tile) <= WASTE * height * width


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that share out the images of a batch; the kernel runs without Python's lock."""
    return ThreadPoolExecutor(threads, thread_name_prefix="winograd")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not live on in a child


def _kernel() -> ctypes.CDLL:
    """The functions of `winograd.c`; whoever makes such layers has asked whether they are `available`."""
    library = _library()
    if library is None:
        raise ConfigError(["inference.winograd: the compiled kernel is gone; run again"])
    return library


@cache
def _library() -> ctypes.CDLL | None:
    features = FEATURES.get(torch.backends.cpu.get_cpu_capability(), ())
    return load(Source(Path(__file__).with_name("winograd.c"), features), _declare)


def _declare(library: ctypes.CDLL) -> None:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.certflow_convolve.argtypes = (*[pointer] * 6, ctypes.c_int64, *[number] * 7)
    library.certflow_convolve.restype = None
    library.certflow_scratch.argtypes, library.certflow_scratch.restype = (number, number), ctypes.c_int64
