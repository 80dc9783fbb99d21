"""Stage 1's verdict: the class to certify and its count."""

import numpy as np


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
    return selected, np.take_along_axis(counts, selected[:, None], axis=1)[:, 0].astype(np.int64)
