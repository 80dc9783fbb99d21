"""The discontinuity score "k0": differences in probability within balls of every radius around every point.

Not volatility: distances are divided by the largest of the sample, and 1 + D, not D, stands below the difference. With a
grid of G radii g/(G − 1) in [0, 1] and N points, q_i(δ) = (1/N) Σ_j 1{D_ij < δ} |P_i − P_j| / (1 + D_ij), and the layer's
score is 1000 times the mean of q over points and radii. This is the published code's form for a GPU, behind all numbers of
the paper.
"""

import numpy as np
from numpy.typing import ArrayLike

from certflow.knowledge.pairs import Points, points, row_sums

SCALE = 1000.0
"""What the published scores are multiplied by."""


def discontinuity(z: ArrayLike, probabilities: ArrayLike, grid: int = 1000, distance: str = "l2") -> float:
    """The layer's score. z: [n, dim]; probabilities: [n], that of the true class at each point.

    In closed form: pair (i, j) counts at the G − 1 − ⌊D_ij (G − 1)⌋ radii above D_ij, so that no radius is looped over.
    """
    if grid < 2:
        raise ValueError(f"grid: must be at least 2, got {grid}")
    sample, total = points(z, probabilities, distance), 0.0
    diameter = _diameter(sample)
    for rows, columns, distances in sample.blocks():
        d = np.minimum(distances / diameter, 1)
        radii = grid - 1 - np.floor(d * (grid - 1))
        difference = np.abs(sample.losses[rows, None] - sample.losses[columns])
        total += float((difference / (1 + d) * radii).sum()) * (1 if rows.start == columns.start else 2)
    return SCALE * total / grid / len(sample) ** 2


def ball_scores(z: ArrayLike, probabilities: ArrayLike, delta: float, distance: str = "l2") -> np.ndarray:
    """float64 [n]: q_i(delta) of every point, delta in [0, 1] of the largest distance."""
    sample = points(z, probabilities, distance)
    diameter, sums = _diameter(sample), np.zeros(len(sample))
    for block in sample.blocks():
        rows, columns, distances = block
        d = distances / diameter
        difference = np.abs(sample.losses[rows, None] - sample.losses[columns])
        row_sums(np.where(d < delta, difference / (1 + d), 0), block, sums)
    return sums / len(sample)


def _diameter(sample: Points) -> float:
    """The largest distance; ValueError where all points are equal."""
    largest = max(float(distances.max()) for _, _, distances in sample.blocks())
    if largest == 0:
        raise ValueError("z: all representations are equal; choose another layer")
    return largest
