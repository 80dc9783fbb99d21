"""From images given as floats to the 8-bit images nearest to them, and how far those are."""

import numpy as np
import torch

from lib.sampling.engine import GRID_TOLERANCE, check_range


def quantized(images: torch.Tensor, index: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The nearest 8-bit images, uint8, and their l2 distances in [0,1]-pixel units, float64 [images], rounded up.

    images: [images, channels, height, width], uint8 or floating point in [0,1]; index: their names, for messages. The distance
    is 0 where no pixel is further than `GRID_TOLERANCE` grey levels from a whole one: such an image is an 8-bit one as floats
    hold it. ValueError for values outside [0,1] or NaN.
    """
    if images.dtype == torch.uint8:
        return images, np.zeros(len(images))
    check_range(images, index)
    scaled = images.to(torch.float64) * 255
    off = (scaled - scaled.round()).flatten(1)
    distance = off.square().sum(dim=1).sqrt() / 255 * (1 + 1e-9)
    moved = (off.abs() > GRID_TOLERANCE).any(dim=1)
    return scaled.round().to(torch.uint8), torch.where(moved, distance, 0.0).cpu().numpy()
