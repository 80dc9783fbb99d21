"""Volatility: the mean, over other points, of the difference in loss per distance between representations.

Sun, Ma, Ge and Vosoughi 2024 (knowledge continuity), definitions 1 to 3, estimated as a U-statistic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from certflow.knowledge.pairs import Block, Points, points, row_sums


@dataclass(frozen=True)
class Volatility:
    """What the pairs of a sample say of one layer and one loss."""

    value: float
    """Mean of `per_point`: the network's volatility. 0 exactly where all losses are equal."""
    per_point: np.ndarray
    """float64 [n]: mean over the other points of |L − L'| / distance."""
    standard_error: float
    """Of `value` over samples of n points, 2·sd(per_point)/√n, asymptotic; infinite for two points, which say nothing of it."""
    mean_distance: float
    """Over all pairs."""
    distances: np.ndarray
    """float64 [n]: mean distance of each point to all others."""
    max_distance: float
    """Largest of all pairs: the sample's diameter, at most that of the space."""
    zero_pairs: int
    """Pairs at distance 0 that were left out, as the definition's condition says; none where a stabiliser or floor is set."""
    infinite_pairs: int
    """Those of `zero_pairs` whose losses differ: without the condition the volatility would be infinite."""
    remarks: tuple[str, ...] = ()
    """What a reader must know of these numbers."""

    def error_in_units(self) -> float:
        """Standard error of `value` where distances were divided by this sample's own `mean_distance`.

        Another sample has another mean, and the value grows with it: in proportion, or less where a stabiliser is set.
        """
        influence = self.per_point + self.value * self.distances / self.mean_distance
        return standard_error(influence)


def volatility(
    z: ArrayLike,
    losses: ArrayLike,
    distance: str = "l2",
    stabiliser: float = 0.0,
    *,
    floor: float = 0.0,
    unit: float = 1.0,
) -> Volatility:
    """Mean of |L_i − L_j| / (max(d_ij, floor) + stabiliser) over pairs of points, with its standard error.

    z: [n, dim] representations; losses: [n]; distance: a name of `DISTANCES`. unit: distances are divided by it first; with
    the sample's `mean_distance` the result does not change when representations are scaled, where with 1 it falls as they
    grow. Unbiased for independent points. Time O(n² dim), memory O(n). ValueError for input that has no volatility.
    """
    return ratios([points(z, losses, distance)], stabiliser=stabiliser, floor=floor, unit=unit)[0]


def volatilities(
    z: ArrayLike,
    losses: Mapping[str, ArrayLike],
    distance: str = "l2",
    stabiliser: float = 0.0,
    *,
    floor: float = 0.0,
    unit: float = 1.0,
) -> dict[str, Volatility]:
    """`volatility` of several losses by name, from one pass over the distances."""
    samples = [points(z, values, distance) for values in losses.values()]
    return dict(zip(losses, ratios(samples, stabiliser=stabiliser, floor=floor, unit=unit), strict=True))


def require_steadying(stabiliser: float, floor: float) -> None:
    """ValueError unless both can be put under a ratio: finite and not negative."""
    for name, value in (("stabiliser", stabiliser), ("floor", floor)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: must not be negative or infinite, got {value}")


def ratios(
    samples: Sequence[Points], *, stabiliser: float = 0.0, floor: float = 0.0, unit: float = 1.0
) -> list[Volatility]:
    """The volatility of samples of the same points, which differ in their losses alone."""
    require_steadying(stabiliser, floor)
    if not 0 < unit < math.inf:
        raise ValueError(f"unit: must be above 0 and finite, got {unit}")
    found = _Sums([sample.losses for sample in samples])
    for block in samples[0].blocks():
        found.add(block, unit, floor, stabiliser)
    if not found.kept.all():
        raise ValueError("z: all representations are equal; choose another layer, or set a stabiliser")
    remarks = _remarks(samples[0].z.shape[1], stabiliser + floor)
    return [found.result(number, remarks) for number in range(len(samples))]


class _Sums:
    """Sums over the ordered pairs of n points, for each of several losses [n]."""

    def __init__(self, losses: Sequence[np.ndarray]):
        self.losses, n = losses, len(losses[0])
        self.ratio, self.kept = [np.zeros(n) for _ in losses], np.full(n, n - 1)
        self.distance, self.largest, self.infinite = np.zeros(n), 0.0, [0 for _ in losses]

    def add(self, block: Block, unit: float, floor: float, stabiliser: float) -> None:
        """Count the pairs of one block."""
        rows, columns, distances = block
        same = rows.start == columns.start
        row_sums(distances, block, self.distance)
        self.largest = max(self.largest, float(distances.max()))
        below = np.maximum(distances if unit == 1 else distances / unit, floor)
        below += stabiliser
        if same:
            np.fill_diagonal(below, np.inf)  # a point is not a pair with itself: its ratio is 0, and it is not counted
        zero = below == 0 if floor + stabiliser == 0 else None
        if zero is not None:
            row_sums(-zero.astype(np.int64), block, self.kept)
            below[zero] = np.inf
        for number, losses in enumerate(self.losses):
            difference = np.subtract.outer(losses[rows], losses[columns])
            np.abs(difference, out=difference)
            if zero is not None:
                self.infinite[number] += int((zero & (difference > 0)).sum()) * (1 if same else 2)
            difference /= below
            row_sums(difference, block, self.ratio[number])

    def result(self, number: int, remarks: tuple[str, ...]) -> Volatility:
        """What was found for the loss of this number."""
        n, per_point, infinite = len(self.kept), self.ratio[number] / self.kept, self.infinite[number] // 2
        if infinite:
            remarks += (f"{infinite} pairs at distance 0 differ in loss and are left out; their ratio is infinite",)
        return Volatility(
            value=float(per_point.mean()),
            per_point=per_point,
            standard_error=standard_error(per_point),
            mean_distance=float(self.distance.sum()) / (n * (n - 1)),
            distances=self.distance / (n - 1),
            max_distance=self.largest,
            zero_pairs=int((n - 1 - self.kept).sum()) // 2,
            infinite_pairs=infinite,
            remarks=remarks,
        )


def standard_error(per_point: np.ndarray) -> float:
    """Of a mean over pairs, from its means over the pairs of each of n points: 2·sd/√n; infinite for two points."""
    n = len(per_point)
    return math.inf if n == 2 else float(2 * per_point.std(ddof=1) / math.sqrt(n))


def _remarks(dim: int, bounded: float) -> tuple[str, ...]:
    if dim > 2 or bounded:
        return ()
    moment = "mean" if dim == 1 else "variance"
    return (f"{dim} coordinates: 1/distance may have no finite {moment}; set a stabiliser or a floor",)
