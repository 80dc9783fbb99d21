"""Images as the engine takes them: of the model's shape, in [0,1], in memory or read when their turn comes."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import check_grid

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that images which are not uint8 may have: torch compares no values of others."""

OUTSIDE = (
    "has values outside [0,1] or NaN; noise is added in [0,1] units, so divide pixels from 0 to 255 by 255, and bring those of "
    "another range to [0,1], which the model must then undo"
)


@dataclass(frozen=True)
class Reader:
    """Images that are read when their turn comes, so that a job's images need not fit in memory.

    read: slice of the job's images → uint8 [images, *base.shape]. An image may be read more than once.
    """

    read: Callable[[slice], np.ndarray]


def check_images(base: BaseClassifier, images: torch.Tensor, index: np.ndarray, exact: bool) -> None:
    """ValueError unless there is one image for each of `index`, of the model's shape, with values in [0,1]; in exact arithmetic
    the images must be 8-bit ones."""
    if tuple(images.shape[1:]) != base.shape:
        raise ValueError(
            f"images must have shape [images, {', '.join(map(str, base.shape))}], got {list(images.shape)}"
        )
    if len(images) != len(index):
        raise ValueError(f"{len(images)} images and {len(index)} indices do not belong together")
    if images.dtype == torch.uint8:
        _warn_of_truths(images)
    else:
        check_range(images, index)
        if exact:
            check_grid(images, index)


def _warn_of_truths(images: torch.Tensor) -> None:
    """A warning where whole numbers of a scale to 255 look like ones of a scale to 1."""
    if images.numel() and int(images.max()) == 1:
        warnings.warn(
            "all pixels of these uint8 images are 0 or 1 of 255, which is black; if 1 is meant to be white, multiply by 255",
            stacklevel=2,
        )


def check_range(images: torch.Tensor, index: np.ndarray) -> None:
    """ValueError naming the first of the images, which are not uint8, that is not of floats in [0,1]."""
    if images.dtype not in FLOATS:
        raise ValueError(
            f"images must be uint8, or floating point of 16 bits or more, got {images.dtype}; make whole numbers from 0 to 255 "
            "uint8, others float32"
        )
    worst = first_outside(images)
    if worst is not None:
        raise ValueError(f"image {index[worst]}: {OUTSIDE}")


def first_outside(images: np.ndarray | torch.Tensor) -> int | None:
    """The row of the first image with a value outside [0,1] or NaN, None where there is none."""
    inside = cast("list[bool]", ((images >= 0) & (images <= 1)).all(tuple(range(1, images.ndim))).tolist())
    return None if all(inside) else inside.index(False)
