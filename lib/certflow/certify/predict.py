"""PREDICT of Cohen, Rosenfeld and Kolter (2019): the smoothed prediction, or an abstention, without any radius."""

import numpy as np

from certflow.certify.bounds import checked_level
from certflow.stats import LARGEST_N, prediction_p_value, smallest_n_to_predict
from certflow.stats.checks import whole

ABSTAIN = -1


def predict_classes(counts: np.ndarray, alpha: float = 0.001) -> tuple[np.ndarray, np.ndarray]:
    """The class of each image, or -1 where the votes do not settle it, and the p-value it was judged by.

    counts: whole numbers [images, classes], votes under noise; alpha in (0, 0.5). Returns (int64 [images], float64 [images]).
    A class is given when `prediction_p_value` of its votes against the second most votes is at most alpha; ties go to the
    lowest class (and then to abstention). P(a class other than the smoothed prediction is returned) <= alpha per image; nothing
    is claimed about robustness or about the label.

    ValueError for fewer than two classes, and for so few votes that every answer would be an abstention (2^(1-n) > alpha).
    """
    alpha = checked_level(alpha)
    counts = whole("counts", counts, low=0, high=LARGEST_N)
    if counts.ndim != 2 or counts.shape[1] < 2:
        raise ValueError(f"counts: must be [images, classes] with two classes or more, got {list(counts.shape)}")
    least = smallest_n_to_predict(alpha)
    few = counts.sum(axis=1) < least
    if few.any():
        row = int(np.argmax(few))
        raise ValueError(
            f"counts: {counts[row].sum()} votes (row {row}) can never decide at alpha={alpha:g}; draw at least {least}"
        )
    order = np.argsort(-counts, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(counts, order, axis=1).T
    p_value = np.asarray(prediction_p_value(first, second))
    return np.where(p_value <= alpha, order[:, 0], ABSTAIN), p_value
