"""What people give to the public door, as the engine takes it, or an error that says how to give it."""

import operator
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch

from certflow.noise.base import NoiseSpec
from certflow.stats.limits import LARGEST_N, LEAST_ALPHA

LARGEST_USUAL_SIGMA = 4.0
"""Noise of more than this, in [0,1]-pixel units, drowns any image: it is likely to be meant on a scale of 0 to 255."""
LARGEST_BATCH = 2**20
"""Rows per forward pass; no device has memory for more."""
CHANNELS = (1, 3, 4)
"""How many channels images have that are laid out with channels last."""
SHAPE = "[images, channels, height, width]"
UNEQUAL = f"images must be of one shape, to be one array {SHAPE}; certify those of each shape by themselves"


def checked_alpha(alpha: Any) -> float:
    """A probability of error from `LEAST_ALPHA` to below 0.5, of any type of real number."""
    if not isinstance(alpha, Real) or not LEAST_ALPHA <= alpha < 0.5:
        raise ValueError(f"alpha must be at least {LEAST_ALPHA:g} and below 0.5, got {alpha!r}")
    return float(alpha)


def checked_draws(name: str, value: Any) -> int:
    """A number of draws; a float such as 1e5 will do if it is whole."""
    whole = int(value) if isinstance(value, float | np.floating) and float(value).is_integer() else value
    try:
        number = operator.index(whole)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if number > LARGEST_N:
        raise ValueError(f"{name} must be at most {LARGEST_N:,}: bounds of more draws are not verified, got {value!r}")
    return number


def checked_batch(rows: Any) -> int:
    """A number of rows per forward pass."""
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or not 1 <= rows <= LARGEST_BATCH:
        raise ValueError(f"batch size must be at least 1, whole, and at most {LARGEST_BATCH:,}, got {rows!r}")
    return int(rows)


def checked_images(images: Any, indices: Any) -> tuple[torch.Tensor, np.ndarray]:
    """Images as a tensor of four dimensions, and their names as int64 [images]."""
    images = as_tensor(images)
    check_layout(images.shape)
    if isinstance(indices, torch.Tensor):
        indices = indices.cpu()
    index = np.arange(len(images)) if indices is None else np.asarray(indices)
    if index.shape != (len(images),) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(
            f"indices must be {len(images)} integers, one per image, got {index.dtype} {list(index.shape)}"
        )
    return images, index.astype(np.int64)


def as_tensor(images: Any) -> torch.Tensor:
    """Images as a tensor, from a tensor, an array, or a list of either.

    Copied only where torch cannot use numpy's memory: it is read-only (a memory-mapped file), runs backwards (a mirrored image)
    or has its bytes in another order.
    """
    if isinstance(images, torch.Tensor):
        return _dense(images)
    if isinstance(images, np.ma.MaskedArray):
        raise TypeError(
            "images: a masked array has pixels without a value; give a plain array, such as images.filled(0)"
        )
    if isinstance(images, Sequence) and len({np.shape(image) for image in images if hasattr(image, "shape")}) > 1:
        raise ValueError(UNEQUAL)
    if isinstance(images, Sequence) and len(images) and all(isinstance(image, torch.Tensor) for image in images):
        return torch.stack([_dense(image) for image in images])
    try:
        array = np.asarray(images)
    except ValueError as error:  # lists of lists of unequal lengths
        raise ValueError(UNEQUAL) from error
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(
            f"images must be numbers in a tensor or an array {SHAPE}, of at most 64 bits, got {type(images).__name__} of "
            f"{array.dtype}"
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    backwards = any(stride < 0 for stride in array.strides)
    return torch.from_numpy(array.copy() if backwards else np.require(array, requirements=["W"]))


def _dense(images: torch.Tensor) -> torch.Tensor:
    """The tensor without gradients; ValueError where its values do not lie in memory one by one."""
    if images.layout != torch.strided or images.is_meta or images.is_quantized or images.is_nested:
        raise ValueError("images must be a dense tensor that holds values: images.to_dense(), or images.dequantize()")
    return images.detach()


def warn_of_scale(noise: NoiseSpec) -> None:
    """A warning where sigma looks like one for pixels from 0 to 255."""
    if noise.sigma > LARGEST_USUAL_SIGMA:
        warnings.warn(
            f"sigma={noise.sigma:g} is in units of pixels in [0,1], where it drowns any image; if it is meant for pixels "
            f"from 0 to 255, give sigma={noise.sigma:g}/255 = {noise.sigma / 255:.4g}",
            stacklevel=3,
        )


def check_layout(shape: Sequence[int]) -> None:
    """ValueError unless this is the shape of images: four dimensions, channels before height and width."""
    shape = list(shape)
    if len(shape) != 4:
        more = {3: "; of one image make images[None], of grey images without channels images[:, None]"}.get(
            len(shape), ""
        )
        raise ValueError(f"images must have shape {SHAPE}, got {shape}{more}")
    if 0 in shape[1:]:
        raise ValueError(f"images must have pixels, got shape {shape}")
    if channels_last(shape[1:]):
        raise ValueError(
            f"images must have shape {SHAPE}, got {shape}, which looks like [images, height, width, channels]; give "
            "images.transpose(0, 3, 1, 2) of an array, images.permute(0, 3, 1, 2) of a tensor"
        )


def channels_last(shape: Sequence[int]) -> bool:
    """Whether the shape of an image looks like [height, width, channels]."""
    first, second, last = shape
    square = last in CHANNELS and first == second
    return first > max(CHANNELS) and second > max(CHANNELS) and (square or last == 3)
