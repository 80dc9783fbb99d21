"""Middles of pieces: splitting noise (`certflow.noise.splitting`) on tensors, in floating point and in whole numbers."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from torch import Tensor

from certflow.noise.grid import LEVELS
from certflow.noise.splitting import PARTS

SIGN = 15
"""Shifted by as many bits, an int16 is -1 where it is negative and else 0."""


def middles(x: Float32[Tensor, "..."], cut: Float32[Tensor, "..."], width: float) -> Float32[Tensor, "..."]:
    """The middle of each value's piece of [0,1]. x: in [0,1]. cut: in [0, width), a place where its line is cut; overwritten.

    A value that lies on a cut belongs to the piece below it.
    """
    if width >= 1:  # one cut at most lies inside [0,1]
        above = x > cut
        return cut.clamp_(max=1).add_(above).mul_(0.5)
    number = torch.ceil((x - cut) / width)
    upper = (cut + number * width).clamp_(max=1)
    return cut.add_((number - 1) * width).clamp_(min=0).add_(upper).mul_(0.5)


def whole_middles(levels: Int16[Tensor, "..."], cut: Int16[Tensor, "..."], cuts: int) -> Int16[Tensor, "..."]:
    """`middles` in units of 1/PARTS, for cuts half a grey level above the level `cut` (0, ..., cuts - 1) and a width of `cuts`
    grey levels. levels: 0 to 255; the two broadcast.

    Twice a grey level is the unit in which cuts are whole: a cut lies at 2 cut + 1, 1 at 510. Signs are taken by shifts, for
    torch's comparisons of whole numbers take ten times as long.
    """
    width = min(cuts, LEVELS + 1)  # wider than [0,1] is wide enough, and fits into 16 bits
    cut = cut.clamp(max=LEVELS)
    above = cut - levels
    upper = (above + levels).mul_(2).add_(1)
    for _ in range(-(-LEVELS // width)):  # one cut after the other: is the level above it?
        upper.add_((above >> SIGN).bitwise_and_(2 * width))
        above.add_(width)
    return (upper - 2 * width).clamp_(min=0).add_(upper.clamp_(max=2 * LEVELS))


def from_parts(parts: Int16[Tensor, "..."]) -> Float32[Tensor, "..."]:
    """float32 values of whole numbers of 1/PARTS: correctly rounded, the same bits on every device."""
    return parts.to(torch.float32).div_(torch.full((), float(PARTS), device=parts.device))


def shifted(offsets: Int16[Tensor, " dim"], shift: Int64[Tensor, " rows"], cuts: int) -> Int16[Tensor, "rows dim"]:
    """(offsets + shift) mod cuts for every row. shift: 0 to cuts - 1."""
    found = (offsets + shift.to(torch.int16)[:, None]).sub_(cuts)
    return found.add_((found >> SIGN).bitwise_and_(cuts))


@lru_cache(maxsize=64)
def offsets(cuts: int, dim: int, seed: int, device: torch.device) -> Int16[Tensor, " dim"]:
    """`fixed_offsets` on a device."""
    return torch.from_numpy(fixed_offsets(cuts, dim, seed).astype(np.int16)).to(device)


def fixed_offsets(cuts: int, dim: int, seed: int) -> Int64[np.ndarray, " dim"]:
    """Where each coordinate, in the order channel, row, column, is cut at shift 0: whole numbers from 0 to cuts - 1.

    Those of numpy's legacy generator, as in the paper's code: models and counts of the same seed fit together.
    """
    return np.random.RandomState(seed).randint(cuts, size=dim, dtype=np.int64)
