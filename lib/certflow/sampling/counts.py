"""What class counts say of one class per image. Needs no torch."""

import numpy as np


def count_of(counts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[images]: how often each image got the class that `classes` (whole numbers [images]) names. counts: [images, classes]."""
    return np.take_along_axis(counts, classes[:, None], axis=1)[:, 0]


def largest_other_count(counts: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """[images]: the largest count of any class but the selected one. counts: [images, classes]."""
    others = counts.copy()
    np.put_along_axis(others, selected[:, None], -1, axis=1)
    return others.max(axis=1)
