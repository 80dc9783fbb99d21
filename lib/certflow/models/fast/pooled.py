"""Gradients of a convolution of whose outputs only ReLU of max pooling over 2×2 is used (`pooled.c`), on a CPU.

The convolution itself is `winograd.convolve_relu_pool`, which notes which of the four outputs of a cell each number is.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float

from certflow.machine.native import Source, features, load, needed
from certflow.models.fast.sharing import share, threads_for
from certflow.models.fast.winograd import Chosen, Images, Shape

IMAGES_EACH = 16
"""A thread that sums gradients by the filters gets so many images or more."""
MOST = 2**26
"""Numbers of an image and of all filters, at most: places in four padded images and in all filters have 32 bits."""


def by_images(
    dy: Images,
    chosen: Chosen,
    weight: Float[torch.Tensor, "outputs inputs size size"],
    shape: Shape,
    size: tuple[int, int],
) -> Images:
    """The gradient by images of height and width `size`, in channels last. A row's bits do not depend on the others."""
    functions = needed(kernel())
    line = functions.certflow_pooled_line(shape.inputs, shape.size)
    around = functions.certflow_pooled_around(shape.inputs, shape.size)
    rows = weight.permute(2, 0, 3, 1).flatten(2)
    before = around * shape.inputs
    filters = F.pad(rows, (before, line - before - rows.shape[2], 0, 0, around, around)).contiguous()
    dx = torch.empty(len(dy), shape.inputs, *size, memory_format=torch.channels_last)

    def write(dx: torch.Tensor, dy: torch.Tensor, chosen: torch.Tensor) -> None:
        sizes, scratch = _sizes(functions, shape, size)
        pointers = [t.data_ptr() for t in (dy, chosen, filters, dx, scratch)]
        functions.certflow_pooled_images(*pointers, len(dy), *sizes)

    threads = threads_for(len(dy))
    share(threads, write, *(t.tensor_split(threads) for t in (dx, _channels_last(dy), chosen)))
    return dx


def by_filters(
    x: Images, dy: Images, chosen: Chosen, shape: Shape
) -> tuple[Float[torch.Tensor, "outputs inputs size size"], Float[torch.Tensor, " outputs"]]:
    """The gradients by the filters and by the bias. Their last bits depend on the number of threads."""
    functions = needed(kernel())
    row, pixel = (
        ask(shape.inputs, shape.size) for ask in (functions.certflow_pooled_row, functions.certflow_pooled_pixel)
    )
    threads = threads_for(len(x) // IMAGES_EACH)
    filters = torch.empty(threads, shape.outputs, shape.size, row)
    bias = torch.empty(threads, shape.outputs)

    def write(
        filters: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, dy: torch.Tensor, chosen: torch.Tensor
    ) -> None:
        sizes, scratch = _sizes(functions, shape, (x.shape[2], x.shape[3]))
        pointers = [t.data_ptr() for t in (x, dy, chosen, filters, bias, scratch)]
        functions.certflow_pooled_filters(*pointers, len(x), *sizes)

    given = (t.tensor_split(threads) for t in (_channels_last(x), _channels_last(dy), chosen))
    share(threads, write, filters, bias, *given)
    pixels = filters.sum(0)[..., : shape.size * pixel].unflatten(2, (shape.size, pixel))
    return pixels[..., : shape.inputs].permute(0, 3, 1, 2), bias.sum(0)


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _sizes(functions: ctypes.CDLL, shape: Shape, size: tuple[int, int]) -> tuple[tuple[int, ...], torch.Tensor]:
    """As the functions in C take them, and what they work in."""
    sizes = *size, shape.inputs, shape.outputs, shape.size, shape.padding
    return sizes, torch.empty(functions.certflow_pooled_scratch(*sizes))


@cache
def kernel() -> ctypes.CDLL | None:
    """The functions in C, compiled if they were not yet; None where they cannot be."""
    return load(source(), _declare)


def source() -> Source:
    """What the functions are compiled from, for this CPU."""
    folder = Path(__file__).parent
    return Source(folder / "pooled.c", features(), (folder / "vectors.h",))


def _declare(functions: ctypes.CDLL) -> None:
    """Say which arguments the functions take."""
    pointer, number, images = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    functions.certflow_pooled_images.argtypes = (*[pointer] * 5, images, *[number] * 6)
    functions.certflow_pooled_filters.argtypes = (*[pointer] * 6, images, *[number] * 6)
    functions.certflow_pooled_images.restype = functions.certflow_pooled_filters.restype = None
    for name in ("around", "line", "pixel", "row"):
        functions[f"certflow_pooled_{name}"].argtypes = [number] * 2
    functions.certflow_pooled_scratch.argtypes, functions.certflow_pooled_scratch.restype = [number] * 6, images
