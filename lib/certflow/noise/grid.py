"""Gaussian noise in whole grey levels: its law, and how far that is from the ideal one. Needs no torch.

The pixels of an 8-bit image are m / 255 with whole m, so for real noise e ~ N(0, sigma^2) the pixel nearest to m / 255 + e is
m + t with t = round(255 e), and

    P(t = i) = Phi((i + 1/2) / (255 sigma)) - Phi((i - 1/2) / (255 sigma)).

A classifier that sees m + t with such t *is* the smoothing, by continuous Gaussian noise over the real numbers, of the
classifier that first rounds its input to the grid. All theorems on Gaussian smoothing hold for it unchanged, and no
floating-point number stands between them and what is computed (the remedy of Vorácek and Hein 2023, with another sampler).

t is drawn by inversion from a uniform 62-bit integer: its law is off by `distance` in total variation, which certificates
give away.
"""

import math
from fractions import Fraction
from functools import cache

import numpy as np
from jaxtyping import Int32, Int64, UInt32

LEVELS = 255
"""Grey levels per unit of pixel value."""
REACH = 9
"""Standard deviations up to which levels are distinguished; what lies beyond belongs to the outermost ones."""
BITS = 62
DIGITS = 60
"""Decimal digits in which thresholds are computed."""
CELL_BITS = 15
"""Leading bits of u by which a value is looked up. More would decide more values at once, from a table that no cache holds."""
LARGEST_SIGMA = 14.0
"""Noisy levels are held in 16 bits."""
HIGH_STREAM = 1 << 31
LOW_STREAM = HIGH_STREAM + (1 << 30)
"""Added to a stream: where the leading and the other bits of u come from (`certflow.noise.steps`)."""


def reach(sigma: float) -> int:
    """The largest |t|. sigma in [0,1]-pixel units is read as the decimal number that it prints as."""
    if not 0 < sigma <= LARGEST_SIGMA:
        raise ValueError(f"sigma: exact noise needs it above 0 and at most {LARGEST_SIGMA:g}, got {sigma!r}")
    return math.ceil(REACH * LEVELS * Fraction(repr(float(sigma))))


@cache
def thresholds(sigma: float) -> Int64[np.ndarray, " twice_reach"]:
    """T_i = floor(2**62 Phi((i + 1/2) / (255 sigma))) for i = -K, ..., K - 1, where K = `reach(sigma)`.

    For u uniform on the integers from 0 to 2**62 - 1, t = #{i: T_i <= u} - K. In arithmetic of 60 digits: float64's normal
    distribution function errs by more than five hundred units here. Some tenths of a second, then remembered.
    """
    import mpmath

    with mpmath.workdps(DIGITS):
        width = mpmath.mpf(repr(float(sigma))) * LEVELS * mpmath.sqrt(2)
        tail = [
            int(mpmath.floor(mpmath.ldexp(mpmath.erfc((i + mpmath.mpf(0.5)) / width), BITS - 1)))
            for i in range(reach(sigma))
        ]
    # Phi(-x) = 1 - Phi(x), and the floor of a whole number minus y is that number minus 1 minus the floor of y.
    return np.array([*reversed(tail), *((1 << BITS) - 1 - value for value in tail)], np.int64)


def index_thresholds(
    limits: Int64[np.ndarray, " limits"],
) -> tuple[Int32[np.ndarray, " cells"], UInt32[np.ndarray, " cells"]]:
    """(start, high): look-up by the leading CELL_BITS bits of u. Let w be u's leading 32 bits and c its cell.

    Where start[c] >= 0 and w != high[c], #{i: T_i <= u} = start[c] + (w > high[c]): the cell holds one threshold, of which
    `high` are the leading 32 bits, or none (`high` is then 2**32 - 1). Other u are to be compared with the thresholds.
    """
    leading = limits >> (BITS - 32)
    cell = leading >> (32 - CELL_BITS)
    start = np.searchsorted(cell, np.arange(1 << CELL_BITS)).astype(np.int32)
    inside = np.bincount(cell, minlength=1 << CELL_BITS)
    high = np.full(1 << CELL_BITS, 0xFFFFFFFF, np.uint32)
    high[inside == 1] = leading[start[inside == 1]]
    start[inside > 1] = -1
    return start, high


def distance(sigma: float, dim: int) -> float:
    """An upper bound on the total variation distance between the noise drawn on `dim` coordinates and the ideal law.

    dim (2K + 1) 2**-63: each of the 2K + 1 masses of a coordinate is off by at most 2**-62. 2 dim Phi(-(K + 1/2) / (255
    sigma)): the ideal law's tails, which the outermost levels take over.
    """
    if dim < 1:
        raise ValueError(f"dim: must be at least 1, got {dim}")
    largest = reach(sigma)
    tails = math.erfc((largest + 0.5) / (LEVELS * sigma * math.sqrt(2)))
    return (dim * (2 * largest + 1) * 2.0**-63 + dim * tails) * (1 + 1e-9)
