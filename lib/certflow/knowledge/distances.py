"""Distances between representations. Adding one means adding a line to `DISTANCES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

DIRECT = 16
"""Coordinates up to which l2 distances are taken by differences; with more a product of matrices is several times faster."""
NEAR = 1e-4
"""Squared distances below this share of the squared lengths are taken again, by differences: their product form has lost
digits, and equal points would not be at distance 0."""
CHUNK = 1 << 14
"""Pairs that are taken again at once."""


@dataclass(frozen=True)
class Distance:
    """`prepare`: [points, dim] → what distances are taken of. `between`: float64 [a, dim], [b, dim] → distances [a, b].
    `across`: differences of points [pairs, dim] → distances [pairs]."""

    prepare: Callable[[np.ndarray], np.ndarray]
    between: Callable[[np.ndarray, np.ndarray], np.ndarray]
    across: Callable[[np.ndarray], np.ndarray]


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """l2 distances, with a relative error of a few 1e-12 and exactly 0 between equal points."""
    if a.shape[1] <= DIRECT:
        return cdist(a, b)
    lengths = (a * a).sum(1)[:, None] + (b * b).sum(1)
    square = a @ b.T
    square *= -2
    square += lengths
    lengths *= NEAR
    rows, columns = (square < lengths).nonzero()
    distances = np.sqrt(np.maximum(square, 0, out=square), out=square)
    for start in range(0, len(rows), CHUNK):
        i, j = rows[start : start + CHUNK], columns[start : start + CHUNK]
        distances[i, j] = np.linalg.norm(a[i] - b[j], axis=1)
    return distances


def angular(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 − cosine of the angle between unit vectors, in [0, 2]: half their squared l2 distance, exact for equal ones."""
    return np.square(euclidean(a, b)) / 2


def centred(z: np.ndarray) -> np.ndarray:
    """Distances stay; lengths, which limit the accuracy of the product form, become small."""
    return z - z.mean(0)


def unit(z: np.ndarray) -> np.ndarray:
    """Every row divided by its length; ValueError where there is none."""
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(
            f"row {int(np.argmin(lengths[:, 0]))} is zero and has no direction; use another distance than cosine"
        )
    return z / lengths


DISTANCES: Mapping[str, Distance] = {
    "l1": Distance(np.asarray, lambda a, b: cdist(a, b, "cityblock"), lambda x: np.abs(x).sum(1)),
    "l2": Distance(centred, euclidean, lambda x: np.linalg.norm(x, axis=1)),
    "linf": Distance(np.asarray, lambda a, b: cdist(a, b, "chebyshev"), lambda x: np.abs(x).max(1)),
    "cosine": Distance(unit, angular, lambda x: np.square(x).sum(1) / 2),
}
"""Name → distance. The cosine one is not a metric, which the certificate does not need."""
