"""Fewest draws that keep an image's radius within a tolerance of what n_max draws would give (Chen et al. 2022, "ISS").

All radii here are in units of sigma. For a class of probability p the radius of n draws is taken to be the plug-in value

    rho(n, p) = r(1 - L(n p, n, alpha)),

the radius of the Clopper-Pearson bound of the expected count, which need not be whole; r is `Scale.radius`, z(1 - failure)
under Gaussian noise in l2.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from certflow.sampling.planning.scale import Scale
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper, plug_in_failure
from certflow.stats.crossing import first_good

STEPS = 500
"""Cells of the grid of probabilities from 1/2 to 1."""

Loss = Literal["absolute", "relative"]


def plug_in_radius(n: ArrayLike, p: np.ndarray, alpha: float, scale: Scale) -> np.ndarray:
    """rho(n, p) in units of sigma; no radius where it is negative. The arguments broadcast."""
    n = np.asarray(n, np.float64)
    return scale.radius(plug_in_failure(n * p, n, alpha))


def draws_for(
    p: np.ndarray, tolerance: float, loss: Loss, scale: Scale, *, n_max: int, granularity: int, alpha: float
) -> np.ndarray:
    """int64 of p's shape: the smallest of granularity, 2 granularity, ..., n_max with rho(n, p) >= target(p), else 0.

    target = rho(n_max, p) - tolerance (`absolute`, tolerance in units of sigma) or (1 - tolerance) rho(n_max, p) (`relative`).
    0 where the target is not positive: nothing is to be had there. Bisection: rho grows with n.
    """
    p = np.asarray(p, np.float64)
    best = plug_in_radius(n_max, p, alpha, scale)
    target = best - tolerance if loss == "absolute" else (1 - tolerance) * best

    def draws(steps: np.ndarray) -> np.ndarray:
        return np.minimum(steps * granularity, n_max)

    most = np.full(p.shape, -(-n_max // granularity))
    steps = first_good(0, most, lambda steps: plug_in_radius(draws(steps), p, alpha, scale) >= target)
    return np.where(target > 0, draws(steps), 0)


@lru_cache(maxsize=64)
def draws_table(tolerance: float, loss: Loss, scale: Scale, n_max: int, granularity: int, alpha: float) -> np.ndarray:
    """int64 [STEPS + 1], read-only: `draws_for` at p = 1/2, ..., 1."""
    grid = np.linspace(0.5, 1.0, STEPS + 1)
    table = draws_for(grid, tolerance, loss, scale, n_max=n_max, granularity=granularity, alpha=alpha)
    table.setflags(write=False)
    return table


def draws_within(table: np.ndarray, p_low: np.ndarray, p_high: np.ndarray) -> np.ndarray:
    """int64 [images]: the largest entry of the table over all grid cells that [p_low, p_high] meets.

    The published rule looks at the cells of the two ends only. For the relative loss the table is 0 up to 0.504, jumps to its
    maximum, falls and rises again: an interval around the jump would be planned too small. Range maxima by doubling: O(1) each.
    """
    first, last = np.maximum(_cell(p_low) - 1, 0), _cell(p_high)
    levels = [table]
    while len(levels[-1]) > (width := 1 << (len(levels) - 1)):
        levels.append(np.maximum(levels[-1][:-width], levels[-1][width:]))
    stack = np.stack([np.pad(row, (0, len(table) - len(row))) for row in levels])  # [level, start]: maximum of 2**level
    level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    return np.maximum(stack[level, first], stack[level, last + 1 - (1 << level)])


def tolerant_draws(
    k0: np.ndarray,
    n0: int,
    tolerance: float,
    loss: Loss,
    scale: Scale,
    *,
    n_max: int,
    granularity: int,
    alpha: float,
) -> np.ndarray:
    """int64 [images]: draws for images whose selected class had k0 of n0 stage-1 draws.

    The probability is taken to lie in the two-sided Clopper-Pearson interval at level alpha. That it may not costs more radius
    than the tolerance, never validity: the interval plans, it does not certify.
    """
    p_low, p_high = clopper_pearson_lower(k0, n0, alpha / 2), clopper_pearson_upper(k0, n0, alpha / 2)
    return draws_within(draws_table(tolerance, loss, scale, n_max, granularity, alpha), p_low, p_high)


def _cell(p: np.ndarray) -> np.ndarray:
    """The first grid index at or above p, 0 below 1/2; a grid point computed with rounding errors counts as itself."""
    index = np.ceil((np.asarray(p, np.float64) - 0.5) * (2 * STEPS) - 1e-9)
    return np.clip(index, 0, STEPS).astype(np.int64)
