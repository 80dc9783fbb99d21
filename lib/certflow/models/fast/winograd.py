"""3×3 and 5×5 convolutions on a CPU with a fraction of the products (`winograd.c`), and the gradient by their filters.

From 16 channels or more to three or fewer, where Winograd's algorithm does not pay, `convolve` takes plain sums.

Winograd's algorithm computes the same convolution with other, larger rounding errors: some 1e-6 to 1e-5 of the largest value
where the plain sum has 1e-7. So whoever wants it says so (`native: true` of a model's `inference` or of a method), and then it
is an error if no C compiler is there, since whether one is must not decide what is certified.

Source of algorithm and transforms: Lavin and Gray 2016, section 4. 3×3 has the points and the scaling of F(4×4, 3×3) there; 5×5
has those of the usual F(6×6, 3×3), whose tiles are as large.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, Int32

from certflow.machine.native import Source, features, load, needed
from certflow.models.fast.sharing import share, threads_for

COLUMNS = 16
"""Outputs are summed by so many; filters and bias have zeros up to a multiple of it."""
TERMS = 4
"""Inputs of a gradient by the filters are taken by so many."""
FEW = 3
"""Up to so many channels have a way of their own."""
SIDE = 4
"""Of the tiles of outputs."""
POINTS = {
    3: {0: 1 / 4, 1: -1 / 6, -1: -1 / 6, 2: 1 / 24, -2: 1 / 24},
    5: {0: 1, 1: -2 / 9, -1: -2 / 9, 2: 1 / 90, -2: 1 / 90, 1 / 2: 32 / 45, -1 / 2: 32 / 45},
}
"""Size of the filters → where the polynomial of a filter's line is evaluated → scale. The last point is infinity, where its
value is the leading coefficient."""
LEAST = 16
"""With fewer channels the transforms cost more than the products."""
TILES_EACH = 64
"""A thread that sums gradients by the filters gets so many tiles or more: its sums are as large as the transformed filters."""
WASTE = 2.0
"""Images that do not fill the tiles: so many times as many outputs as are wanted may be computed."""

Images = Float[torch.Tensor, "rows channels height width"]
Chosen = Int32[torch.Tensor, "rows channels height width"]
"""In channels last."""


@dataclass(frozen=True)
class Shape:
    """Channels, size and zero padding of a convolution that the algorithm can do."""

    inputs: int
    outputs: int
    size: int
    padding: int

    @classmethod
    def of(
        cls, weight: torch.Tensor, padding: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
    ) -> Self | None:
        """That of a convolution; None for one that is not square, or strided, dilated or grouped."""
        outputs, inputs, size, width = weight.shape
        plain = (*stride, *dilation, groups) == (1, 1, 1, 1, 1)
        possible = size in POINTS and size == width and 0 <= padding[0] == padding[1] < size
        return cls(inputs, outputs, size, padding[0]) if plain and possible else None

    @property
    def transposed(self) -> Self:
        """The convolution that the gradient by the images is."""
        return type(self)(self.outputs, self.inputs, self.size, self.size - 1 - self.padding)

    def reach(self, side: int) -> int:
        """Outputs along a side of images."""
        return side + 2 * self.padding - self.size + 1

    def constants(self, bias: torch.Tensor | None) -> Float[torch.Tensor, " whole"]:
        """What `convolve` adds to its outputs: this bias, or zeros."""
        return _whole(torch.zeros(self.outputs) if bias is None else bias.float())


def pays(shape: Shape, height: int, width: int, *, pooled: bool = False) -> bool:
    """Whether `convolve` should be used. height, width: of the outputs, before they are `pooled` by it."""
    if min(height, width) < (2 if pooled else 1):
        return False
    if shape.outputs <= FEW < LEAST <= shape.inputs:
        return not pooled
    if shape.inputs <= FEW:
        enough = pooled or shape.outputs >= LEAST
    else:
        enough = min(shape.inputs, shape.outputs) >= LEAST
    return enough and SIDE**2 * -(-height // SIDE) * -(-width // SIDE) <= WASTE * height * width


def convolve(
    x: Images,
    filters: torch.Tensor,
    bias: Float[torch.Tensor, " whole"],
    shape: Shape,
    other: Images | None = None,
    *,
    relu: bool = False,
    pool: bool = False,
) -> Images:
    """The convolution of float32 images with filters that are `arranged` and the shape's `constants`, in channels last.

    (+ `other`) (, then ReLU) (, then the largest of each 2×2: without `other` then, and not from many channels to few). A row's
    bits depend neither on the others nor on the number of threads.
    """
    y = _outputs(x, shape, pool)
    _convolve(y, x, filters, bias, shape, other, None, relu, pool)
    return y


def convolve_relu_pool(
    x: Images, filters: torch.Tensor, bias: Float[torch.Tensor, " whole"], shape: Shape
) -> tuple[Images, Chosen]:
    """`convolve` with both, and which of the four outputs each number is: 0 to 3 row by row, or 4 where ReLU gives 0."""
    y = _outputs(x, shape, pool=True)
    chosen = torch.empty_like(y, dtype=torch.int32)
    _convolve(y, x, filters, bias, shape, None, chosen, relu=True, pool=True)
    return y, chosen


def _outputs(x: Images, shape: Shape, pool: bool) -> Images:
    """Where the outputs are written to."""
    height, width = (shape.reach(side) // (2 if pool else 1) for side in x.shape[2:])
    return torch.empty(len(x), shape.outputs, height, width, memory_format=torch.channels_last)


def _convolve(
    y: Images,
    x: Images,
    filters: torch.Tensor,
    bias: torch.Tensor,
    shape: Shape,
    other: Images | None,
    chosen: Chosen | None,
    relu: bool,
    pool: bool,
) -> None:
    """Write the outputs to y, and which of four they are to `chosen`, of y's shape and layout."""
    _check(x, shape.inputs)
    if other is not None:
        _check(other, shape.outputs)
        other = other.expand_as(y).contiguous(memory_format=torch.channels_last)

    def write(y: torch.Tensor, x: torch.Tensor, other: torch.Tensor | None, chosen: torch.Tensor | None) -> None:
        functions, sizes = needed(kernel()), _sizes(x, shape)
        scratch = torch.empty(functions.certflow_scratch(*sizes))
        given = (x, filters, bias, other, y, chosen, scratch)
        pointers = [None if t is None else t.data_ptr() for t in given]
        functions.certflow_convolve(*pointers, len(x), *sizes, relu, pool)

    threads = threads_for(len(x))
    given = (y, x.contiguous(memory_format=torch.channels_last), other, chosen)
    share(threads, write, *([None] * threads if t is None else t.tensor_split(threads) for t in given))


def correlate(x: Images, dy: Images, shape: Shape) -> Float[torch.Tensor, "outputs inputs size size"]:
    """The gradient by the filters, from the images and the gradient by the outputs.

    Its last bits depend on the number of threads, as those of torch's gradients do.
    """
    _check(x, shape.inputs)
    _check(dy, shape.outputs)
    lines = _lines(shape.size, x.dtype)
    tiles = len(dy) * -(-dy.shape[2] // SIDE) * -(-dy.shape[3] // SIDE)
    threads = threads_for(min(len(x), tiles // TILES_EACH))
    inputs, outputs = -(-shape.inputs // TERMS) * TERMS, -(-shape.outputs // COLUMNS) * COLUMNS
    sums = torch.empty(threads, len(lines) ** 2, inputs, outputs)

    def write(sums: torch.Tensor, x: torch.Tensor, dy: torch.Tensor) -> None:
        functions = needed(kernel())
        scratch = torch.empty(functions.certflow_correlation_scratch(shape.inputs, shape.outputs, shape.size))
        pointers = [t.data_ptr() for t in (x, dy, sums, scratch)]
        functions.certflow_correlate(*pointers, len(x), *_sizes(x, shape))

    given = [t.contiguous(memory_format=torch.channels_last) for t in (x, dy)]
    share(threads, write, sums, *(t.tensor_split(threads) for t in given))
    whole_sum = sums[0] if threads == 1 else sums.sum(0)
    at_points = whole_sum[:, : shape.inputs, : shape.outputs]
    gradient = torch.kron(lines, lines).t() @ at_points.flatten(1)
    return gradient.view(shape.size, shape.size, shape.inputs, shape.outputs).permute(3, 2, 0, 1)


def arranged(weight: Float[torch.Tensor, "outputs inputs size size"]) -> torch.Tensor:
    """Filters as `convolve` reads them, computed in the weight's precision.

    At the points, [points, panels, inputs, 16], of few channels [panels, points, inputs, 16]; from many channels to few the
    patches that a pixel adds to, [panels, inputs, 16].
    """
    if weight.shape[0] <= FEW < weight.shape[1]:
        return _whole(_patches(weight)).unflatten(0, (-1, COLUMNS)).transpose(1, 2).float().contiguous()
    points = torch.kron(lines := _lines(weight.shape[2], weight.dtype), lines)
    panels = _whole(weight).permute(2, 3, 0, 1).unflatten(2, (-1, COLUMNS)).transpose(3, 4)
    at_points = (points @ panels.reshape(len(panels) ** 2, -1)).view(len(points), *panels.shape[2:])
    return (at_points.transpose(0, 1) if weight.shape[1] <= FEW else at_points).float().contiguous()


def _patches(weight: torch.Tensor) -> Float[torch.Tensor, "numbers inputs"]:
    """What each input of a pixel is multiplied by on its way to the outputs around it, line by line."""
    outputs, inputs, size, _ = weight.shape
    lines = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(1, 2)
    more = needed(kernel()).certflow_patch(size, outputs) - lines.shape[1]
    return torch.cat([lines, lines.new_zeros(size, more, inputs)], dim=1).flatten(0, 1)


def _whole(values: torch.Tensor) -> torch.Tensor:
    """A copy with zeros up to a multiple of `COLUMNS` outputs."""
    more = -len(values) % COLUMNS
    return torch.cat([values, values.new_zeros(more, *values.shape[1:])])


@cache
def _lines(size: int, dtype: torch.dtype) -> Float[torch.Tensor, "points size"]:
    """What makes a filter's line into its values at the points (Lavin and Gray's G)."""
    powers = range(size)
    finite = [[scale * point**power for power in powers] for point, scale in POINTS[size].items()]
    return torch.tensor([*finite, [float(power == powers[-1]) for power in powers]], dtype=dtype)


def _sizes(x: torch.Tensor, shape: Shape) -> tuple[int, ...]:
    """As the functions in C take them."""
    return *x.shape[2:], shape.inputs, shape.outputs, shape.size, shape.padding


def _check(images: torch.Tensor, channels: int) -> None:
    """The functions in C would read past the end of other images."""
    if images.dtype != torch.float32 or images.shape[1] != channels:
        raise ValueError(
            f"images must be float32 and have {channels} channels, got {str(images.dtype)[6:]} and {images.shape[1]}"
        )


@cache
def kernel() -> ctypes.CDLL | None:
    """The functions in C, compiled if they were not yet; None where they cannot be."""
    return load(source(), _declare)


def source() -> Source:
    """What the functions are compiled from, for this CPU."""
    folder, shared = Path(__file__).parent, {"COLUMNS": COLUMNS, "TERMS": TERMS, "FEW": FEW, "SIDE": SIDE}
    flags = (*features(), *(f"-D{name}={value}" for name, value in shared.items()))
    return Source(folder / "winograd.c", flags, (folder / "products.h", folder / "vectors.h"))


def _declare(functions: ctypes.CDLL) -> None:
    """Say which arguments the functions take."""
    pointer, number, images = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    functions.certflow_convolve.argtypes = (*[pointer] * 7, images, *[number] * 8)
    functions.certflow_correlate.argtypes = (*[pointer] * 4, images, *[number] * 6)
    functions.certflow_convolve.restype = functions.certflow_correlate.restype = None
    functions.certflow_scratch.argtypes, functions.certflow_scratch.restype = [number] * 6, images
    functions.certflow_patch.argtypes, functions.certflow_correlation_scratch.argtypes = [number] * 2, [number] * 3
    functions.certflow_correlation_scratch.restype = images
