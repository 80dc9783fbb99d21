"""What a sample shows of a quantity of pairs: disjoint pairs for the bounds that hold always, all pairs for its estimate."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from certflow.knowledge import kernel
from certflow.knowledge.bounds import Evidence
from certflow.knowledge.pairs import Points, disjoint_pairs
from certflow.knowledge.ratios import ratios

FEW = 50
"""Points below which bounds that hold always are 1, or nearly."""


@dataclass(frozen=True)
class Pairs:
    """Disjoint pairs of points, the first of each a random anchor, the second a random point."""

    distance: np.ndarray
    """float64 [pairs]"""
    difference: np.ndarray
    """float64 [pairs]: of the losses."""
    all_anchors: bool

    def __len__(self) -> int:
        return len(self.distance)

    @classmethod
    def drawn(cls, sample: Points, anchors: ArrayLike | None, seed: int) -> "Pairs":
        """Half of the points are paired with the other half, in an order shuffled by the seed; pairs that do not start at an
        anchor are left out. anchors: bool [n]; None for all."""
        n = len(sample)
        mask = np.ones(n, bool) if anchors is None else np.asarray(anchors)
        if mask.shape != (n,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"anchors: must be truth values [{n}], some of them true, got {mask.dtype} {list(mask.shape)}"
            )
        if n < FEW:
            warnings.warn(f"{n} points: bounds will be near 1; give {FEW} or more", stacklevel=3)
        first, second = disjoint_pairs(n, seed)
        kept = mask[first]
        return cls(*sample.between(first[kept], second[kept]), all_anchors=bool(mask.all()))

    def kernel(self, delta: float) -> np.ndarray:
        """float64 [pairs]: the truncated kernel."""
        return kernel.values(self.distance, self.difference, delta)

    def near(self, delta: float) -> float:
        """Share of pairs at a distance below δ; 0 where there are no pairs."""
        return float((self.distance < delta).mean()) if len(self) else 0.0


def kernel_evidence(
    sample: Points, pairs: Pairs, deltas: np.ndarray, loss_max: float, resamples: int, seed: int
) -> list[Evidence]:
    """Of the truncated kernel at each δ. Its means over all pairs are taken where every point is an anchor."""
    means = np.empty((0, len(deltas)))
    if pairs.all_anchors:
        means = kernel.moments(sample, deltas)[0] / (len(sample) - 1)
    return [
        Evidence(
            paired=pairs.kernel(delta),
            per_point=means[:, number],
            high=loss_max,
            matrix=partial(_kernel_matrix, sample, delta),
            resamples=resamples,
            seed=seed,
        )
        for number, delta in enumerate(deltas)
    ]


def volatility_evidence(
    sample: Points, loss_max: float, *, floor: float, stabiliser: float, resamples: int, seed: int
) -> Evidence:
    """Of Δ/(max(d, floor) + stabiliser), which is at most loss_max/(floor + stabiliser)."""
    distance, difference = sample.between(*disjoint_pairs(len(sample), seed))
    below = np.maximum(distance, floor) + stabiliser
    least = floor + stabiliser
    return Evidence(
        paired=difference[below > 0] / below[below > 0],
        per_point=ratios([sample], floor=floor, stabiliser=stabiliser)[0].per_point,
        high=loss_max / least if least > 0 else np.inf,
        matrix=partial(_ratio_matrix, sample, floor, stabiliser),
        resamples=resamples,
        seed=seed,
    )


def _kernel_matrix(sample: Points, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """The kernel of all pairs, and 1 where a pair counts: off the diagonal."""
    whole = np.zeros((len(sample), len(sample)))
    for rows, columns, distances in sample.blocks():
        difference = np.abs(sample.losses[rows, None] - sample.losses[columns])
        whole[rows, columns] = kernel.values(distances, difference, delta)
        whole[columns, rows] = whole[rows, columns].T
    return whole, 1.0 - np.eye(len(sample))


def _ratio_matrix(sample: Points, floor: float, stabiliser: float) -> tuple[np.ndarray, np.ndarray]:
    """The ratios of all pairs, and 1 where a pair counts: off the diagonal, at a distance that can be divided by."""
    whole, weights = np.zeros((2, len(sample), len(sample)))
    for rows, columns, distances in sample.blocks():
        below = np.maximum(distances, floor) + stabiliser
        counts = below > 0
        ratio = np.abs(sample.losses[rows, None] - sample.losses[columns]) / np.where(counts, below, 1)
        for target, values in ((whole, ratio), (weights, counts)):
            target[rows, columns] = values
            target[columns, rows] = values.T
    for target in (whole, weights):
        np.fill_diagonal(target, 0)
    return np.where(weights > 0, whole, 0), weights
