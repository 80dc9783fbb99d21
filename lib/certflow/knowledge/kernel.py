"""The truncated kernel w = |L − L'|·min(1, δ/d), whose mean bounds how often losses differ at a distance below δ.

Where |L − L'| ≥ η and d < δ the kernel is at least η, so that P(|L − L'| ≥ η, d < δ) ≤ E[w]/η by Markov's inequality. It
lies between 0 and the largest difference of losses, whatever the distances are: bounds from a sample need nothing of 1/d.
"""

from collections.abc import Iterator

import numpy as np

from certflow.knowledge.pairs import BLOCK, Points


def values(distances: np.ndarray, differences: np.ndarray, delta: float) -> np.ndarray:
    """The kernel of pairs with these distances and differences of losses (same shapes); distance 0 counts as below δ."""
    return differences * (delta / np.maximum(distances, delta))


def moments(sample: Points, deltas: np.ndarray, powers: tuple[int, ...] = (1,)) -> np.ndarray:
    """float64 [powers, n, deltas]: sums over the other points of the kernel to each power, for all δ from one pass.

    deltas: increasing. w is Δ for d ≤ δ and Δ·δ/d beyond, so that sums of Δ^p and (Δ/d)^p over the intervals between deltas
    give all of them. Losses of two values, such as 0 and 1, differ across the two groups alone: no other pairs are looked
    at.
    """
    near, far = np.zeros((2, len(powers), len(sample), len(deltas) + 1))
    for rows, columns, distances, both in _pairs(sample):
        difference = np.abs(sample.losses[rows, None] - sample.losses[columns])
        interval = np.searchsorted(deltas, distances)
        beyond = np.divide(difference, distances, out=np.zeros_like(distances), where=interval > 0)
        for number, power in enumerate(powers):
            for sums, weights in ((near, difference**power), (far, beyond**power)):
                sums[number, rows] += _by_row(interval, weights, len(deltas))
                if both:
                    sums[number, columns] += _by_row(interval.T, weights.T, len(deltas))
    below = near.cumsum(2)[..., :-1]
    above = far[..., ::-1].cumsum(2)[..., ::-1][..., 1:]
    return below + above * deltas ** np.array(powers)[:, None, None]


def _pairs(sample: Points) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]:
    """Blocks (rows, columns, distances) of the pairs that may differ in loss, and whether each stands for both its orders."""
    values_of_loss = np.unique(sample.losses)
    if len(values_of_loss) > 2:
        numbers = np.arange(len(sample))
        for rows, columns, distances in sample.blocks():
            yield numbers[rows], numbers[columns], distances, rows.start != columns.start
    elif len(values_of_loss) == 2:
        groups = [np.flatnonzero(sample.losses == value) for value in values_of_loss]
        for rows in _pieces(groups[0]):
            for columns in _pieces(groups[1]):
                yield rows, columns, sample.distance.between(sample.z[rows], sample.z[columns]), True


def _pieces(numbers: np.ndarray) -> list[np.ndarray]:
    return [numbers[start : start + BLOCK] for start in range(0, len(numbers), BLOCK)]


def _by_row(interval: np.ndarray, weights: np.ndarray, deltas: int) -> np.ndarray:
    """float64 [rows, deltas + 1]: sums of the weights [rows, columns] of each row by interval."""
    rows, cells = len(interval), deltas + 1
    place = interval + cells * np.arange(rows)[:, None]
    return np.bincount(place.ravel(), weights.ravel(), rows * cells).reshape(rows, cells)
