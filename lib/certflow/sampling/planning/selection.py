"""Stage 1's verdict: the class to certify and its count."""

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm, shift_of, two_bounds_of
from certflow.sampling.counts import count_of, largest_other_count


def select_classes(counts: np.ndarray, n0: int) -> tuple[np.ndarray, np.ndarray]:
    """(class, its count), int64 [images] each: the most frequent class of each row, the lowest index on ties.

    counts: whole numbers [images, classes]. ValueError unless every row sums to n0: planners weigh a count against n0.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or (counts.sum(axis=1) != n0).any():
        raise ValueError(
            f"counts: each image must have n0 = {n0} stage-1 draws, got an array {list(counts.shape)} with others"
        )
    selected = counts.argmax(axis=1).astype(np.int64)
    return selected, count_of(counts, selected)


def equivalent_count(
    counts: np.ndarray, selected: np.ndarray, n0: int, noise: NoiseSpec, norm: Norm, dim: int | None
) -> np.ndarray:
    """int64 [images]: the count with which one bound would promise the radius that two bounds promise here, rounded down.

    counts: [images, classes], rows summing to n0. With p and p_other the two shares, (1 - failure) n0 at the failure that
    certifies the radius of (p, p_other); under Gaussian noise Phi((z(p) - z(p_other)) / 2) n0. It is the share itself where
    all other draws fell on one class, more where they spread. A stand-in for planning: bounds of n draws approach their limits
    at nearly the same rate (4.4 against 4.1 sigma / sqrt(n) at shares 0.6 and 0.2). ValueError where the noise has no radius
    from two bounds in this norm.
    """
    missed, other = n0 - count_of(counts, selected), largest_other_count(counts, selected)
    radius = two_bounds_of(noise, norm)(missed / n0, other / n0, noise, dim)
    return np.floor(n0 * (1.0 - shift_of(noise, norm).failure(radius, noise, dim)) + 1e-9).astype(np.int64)
