"""Laws that are symmetric about 0, by inversion: the quantile function as a table of polynomials, found by a float32's bits.

Such a variate is ±Q(v), where v, uniform on (0,1), is the probability of a larger size: Q falls from the tail, at small v, to 0
at v = 1. Near either end it is smooth in the logarithm of what is left, so that panels are as float32 numbers are: PANELS to
each power of 2 of v below 1/2, and as many to each power of 2 of 1 - v, which is exact there. The polynomials have the least
degree whose error, measured between their nodes, is below ERROR; evaluated in float32 they are off by some 1e-7 of the value.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from certflow.noise.tables import on_device

PANELS = 16
"""Panels to a power of 2."""
BITS = 23 - 4
"""Bits of a float32 that tell its place within a panel, of which there are 2**4 to a power of 2."""
LEAST = -32
"""2**LEAST is the smallest v of `certflow.noise.philox.signed`; 1 - v is at least 2**-24."""
ENDS = (-1 - LEAST) * PANELS + 1
"""Panels of one end: those below 1/2, and the one that begins there."""
FIRST = (127 + LEAST) * PANELS
"""The leading bits of 2**LEAST as a float32."""
ERROR = 2.0**-25
LARGEST_DEGREE = 9

Law = tuple[Callable[[Float64[np.ndarray, "..."], bool, Any], Float64[np.ndarray, "..."]], Any]
"""A function (t, tail, argument) and its argument: Q(t) where `tail`, else Q(1 - t), for t up to a little above 1/2."""


def inverted(signed: Float32[Tensor, "*shape"], law: Law) -> Float32[Tensor, "*shape"]:
    """±Q(v) from ±v as `certflow.noise.philox.signed` gives it."""
    coefficients = _table(law, signed.device)
    v = signed.abs()
    rest = 1 - v
    near_zero = v > rest
    bits = torch.minimum(v, rest).view(torch.int32)
    panel = (bits >> BITS).sub_(FIRST).add_(near_zero, alpha=ENDS).flatten()
    within = bits.bitwise_and_((1 << BITS) - 1).float().mul_(2.0 ** (1 - BITS)).sub_(1).flatten()
    value = coefficients[-1].index_select(0, panel)
    for row in coefficients[:-1].flip(0):
        value = value.mul_(within).add_(row.index_select(0, panel))
    return value.view_as(signed).copysign_(signed)


@lru_cache(maxsize=64)
def table(law: Law) -> Float32[np.ndarray, "powers panels"]:
    """Coefficients of the ascending powers of w, which runs from -1 to 1 through a panel; the panels of v, then those of 1 - v.

    A tenth of a second. ValueError where no degree up to LARGEST_DEGREE meets ERROR.
    """
    for degree in range(2, LARGEST_DEGREE + 1):
        ends = [_fitted(law, degree, tail) for tail in (True, False)]
        if max(error for _, error in ends) <= ERROR:
            return np.concatenate([found for found, _ in ends], axis=1).astype(np.float32)
    raise ValueError(f"{law[1]}: its quantiles vary too fast for polynomials of degree {LARGEST_DEGREE}")


_table = on_device(table)


def _fitted(law: Law, degree: int, tail: bool) -> tuple[Float64[np.ndarray, "powers panels"], float]:
    """The polynomials of one end through the values at Chebyshev points, and their largest relative error between these."""
    quantile, argument = law
    power, part = np.divmod(np.arange(ENDS), PANELS)
    width = 2.0 ** (power + LEAST) / PANELS
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    between = np.cos(np.pi * np.arange(degree + 2) / (degree + 1))
    values, wanted = (
        quantile(width * (PANELS + part + (w[:, None] + 1) / 2), tail, argument) for w in (nodes, between)
    )
    found = np.linalg.solve(np.vander(nodes, increasing=True), values)
    error = np.vander(between, degree + 1, increasing=True) @ found / wanted - 1
    return found, float(np.abs(error).max())
