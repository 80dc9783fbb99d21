"""From images given as floats to the 8-bit images nearest to them, and how far those are."""

import numpy as np
import torch

from certflow.sampling.images import check_range

SMALLEST = 1e-150
"""The least distance that differs from none: squares of smaller ones are not float64 numbers."""


def quantized(images: torch.Tensor, index: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The nearest 8-bit images, uint8, and their l2 distances in [0,1]-pixel units, float64 [images], rounded up.

    images: [images, channels, height, width], uint8 or floating point in [0,1]; index: their names, for messages. Floats hold
    most multiples of 1/255 inexactly: what that makes of an 8-bit image counts, below 3e-5 for float32 and a million pixels.
    ValueError for values outside [0,1] or NaN.
    """
    if images.dtype == torch.uint8:
        return images, np.zeros(len(images))
    check_range(images, index)
    levels = (images.to(torch.float64) * 255).round()
    off = _off(images.to(torch.float64), levels).flatten(1)
    distance = off.square().sum(dim=1).sqrt() / 255 * (1 + 1e-9)  # which is more than all roundings here
    distance = torch.where((off != 0).any(dim=1), distance.clamp(min=SMALLEST), 0.0)
    return levels.to(torch.uint8), distance.cpu().numpy()


def _off(images: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """images * 255 - levels with one rounding, float64: in two parts of so few bits that each product is exact."""
    high = images.to(torch.float32).to(torch.float64)
    return (high * 255 - levels) + (images - high) * 255
