"""PREDICT of Cohen, Rosenfeld and Kolter (2019): the smoothed prediction, or an abstention, without any radius."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.certify.bounds import checked_level
from certflow.certify.field_table import format_time
from certflow.stats import LARGEST_N, prediction_p_value, smallest_n_to_predict
from certflow.stats.checks import whole
from certflow.stats.limits import USUAL_ALPHA

if TYPE_CHECKING:
    import pandas as pd

ABSTAIN = -1


def predict_classes(counts: np.ndarray, alpha: float = USUAL_ALPHA) -> tuple[np.ndarray, np.ndarray]:
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
    order = np.argsort(-counts, kind="stable")[:, :2]
    first, second = np.take_along_axis(counts, order, axis=1).T
    p_value = np.asarray(prediction_p_value(first, second))
    return np.where(p_value <= alpha, order[:, 0], ABSTAIN), p_value


def checked_votes(n: int, alpha: float) -> int:
    """n, if that many votes can decide anything at this level; ValueError otherwise."""
    least = smallest_n_to_predict(alpha)
    if n < least:
        raise ValueError(f"n={n} draws can never predict at alpha={alpha:g}; use at least {least}")
    return n


def prediction_table(
    voted: Mapping[str, np.ndarray], alpha: float, slack: float = 0.0, labels: Any = None
) -> "pd.DataFrame":
    """PREDICT of `certflow.certify.memory.votes`: idx, label, predict (-1 = abstain), radius (always 0: nothing is claimed),
    correct, time, n, k (votes of the most frequent class), p_value.

    slack: by how much the votes of an image together may miss the law; it is taken off alpha. Without labels there are no
    columns `label` and `correct`. ValueError where nothing is left of alpha.
    """
    if 0 < alpha <= slack:
        raise ValueError(
            f"alpha: so many votes in exact arithmetic may miss their law by {slack:.3g}, which leaves nothing of {alpha:g}; "
            "draw fewer, or use `arithmetic: float`"
        )
    counts = voted["counts"]
    predict, p_value = predict_classes(counts, alpha - slack)
    columns = {"predict": predict, "radius": 0.0}
    if labels is not None:
        columns |= {"correct": (predict == labels).astype(np.int64)}
    more = {"n": counts.sum(axis=1), "k": counts.max(axis=1), "p_value": p_value}
    return _table(voted, labels, columns, more)


def score_table(voted: Mapping[str, np.ndarray], labels: Any = None) -> "pd.DataFrame":
    """Shares of votes: idx, label (where there are labels), time, n, score_0, score_1, ... (float64, summing to 1)."""
    counts = voted["counts"]
    n = counts.sum(axis=1)
    shares = {f"score_{number}": counts[:, number] / n for number in range(counts.shape[1])}
    return _table(voted, labels, {}, {"n": n, **shares})


def _table(voted: Mapping[str, np.ndarray], labels: Any, columns: Mapping, more: Mapping) -> "pd.DataFrame":
    import pandas as pd

    known = {} if labels is None else {"label": labels}
    time = [format_time(seconds) for seconds in voted["seconds"]]
    return pd.DataFrame({"idx": voted["idx"], **known, **columns, "time": time, **more})
