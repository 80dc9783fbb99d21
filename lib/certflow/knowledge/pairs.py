"""A sample of points with losses, and its pairs in blocks: no array of all pairs is held."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from certflow.errors import listed
from certflow.knowledge.distances import DISTANCES, Distance

BLOCK = 512
"""Points of a side of a block: 2 MiB of float64."""

Block = tuple[slice, slice, np.ndarray]
"""Rows, columns, and float64 distances between them."""


@dataclass(frozen=True)
class Points:
    """Representations float64 [n, dim], prepared for their distance, and losses float64 [n]."""

    z: np.ndarray
    losses: np.ndarray
    distance: Distance

    def __len__(self) -> int:
        return len(self.z)

    def blocks(self) -> Iterator[Block]:
        """Every pair once: blocks on the diagonal, which hold each pair in both orders, and those above it."""
        for rows in _slices(len(self)):
            for columns in _slices(len(self), rows.start):
                yield rows, columns, self.distance.between(self.z[rows], self.z[columns])

    def between(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances and differences of losses [pairs] of the points numbered `first` and `second` [pairs]."""
        distances = self.distance.across(self.z[first] - self.z[second])
        return distances, np.abs(self.losses[first] - self.losses[second])


def points(z: ArrayLike, losses: ArrayLike, distance: str = "l2") -> Points:
    """The sample, checked. z: [n, dim], or [n] for scalars; losses: [n]; at least two points, all values finite."""
    if distance not in DISTANCES:
        raise ValueError(f"distance: no distance {distance!r}; known: {listed(DISTANCES)}")
    if np.iscomplexobj(z) or np.iscomplexobj(losses):
        raise ValueError(
            "z and losses must be real numbers; give the real and imaginary parts as coordinates of their own"
        )
    z, losses = np.asarray(z, np.float64), np.asarray(losses, np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if z.ndim != 2 or losses.shape != z.shape[:1] or z.shape[1] == 0:
        raise ValueError(f"z must be [n, dim] and losses [n], got {list(z.shape)} and {list(losses.shape)}")
    if len(z) < 2:
        raise ValueError(f"z: pairs need at least 2 points, got {len(z)}")
    for name, values in (("z", z), ("losses", losses)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise ValueError(f"{name}: point {row} is NaN or infinite; look for it in the network's outputs")
    return Points(DISTANCES[distance].prepare(z), losses, DISTANCES[distance])


def disjoint_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n // 2] twice: each point in at most one pair, in an order shuffled by `seed`. These pairs are independent."""
    order, m = np.random.default_rng(seed).permutation(n), n // 2
    return order[:m], order[m : 2 * m]


def row_sums(values: np.ndarray, block: Block, into: np.ndarray) -> None:
    """Add a symmetric quantity's values on one block to the sums `into` [n] of each point over all others."""
    rows, columns, _ = block
    into[rows] += values.sum(1)
    if columns.start != rows.start:
        into[columns] += values.sum(0)


def _slices(n: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, n, BLOCK):
        yield slice(first, min(first + BLOCK, n))
