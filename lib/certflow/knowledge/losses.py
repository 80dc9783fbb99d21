"""Losses of points from logits, and how far two of them can be apart. Adding one means adding a line to `LOSSES`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax


@dataclass(frozen=True)
class Loss:
    """`of`: logits [n, classes], labels [n] → float64 [n]. `width`: classes → largest difference of two losses."""

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    width: Callable[[int], float]
    says: str
    """One line of what it is."""


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log softmax(logits)_y."""
    return -_of_label(log_softmax(np.asarray(logits, np.float64), axis=1), labels)


def cross_entropy_of_probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy with a second softmax inside: bounded, and what the method's published training of text minimises."""
    return cross_entropy(softmax(np.asarray(logits, np.float64), axis=1), labels)


def probability_missed(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 − softmax(logits)_y."""
    return 1 - _of_label(softmax(np.asarray(logits, np.float64), axis=1), labels)


def wrong(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where the largest logit, of equals the first, is not the label's."""
    return (np.asarray(logits).argmax(1) != labels).astype(np.float64)


def _of_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, np.asarray(labels)[:, None], 1)[:, 0]


LOSSES: Mapping[str, Loss] = {
    "ce": Loss(cross_entropy, lambda classes: math.inf, "cross-entropy"),
    "prob_ce": Loss(cross_entropy_of_probabilities, lambda classes: 1.0, "cross-entropy of probabilities"),
    "prob": Loss(probability_missed, lambda classes: 1.0, "1 − probability of the true class"),
    "zero_one": Loss(wrong, lambda classes: 1.0, "0 if right, 1 if wrong"),
}
BOUNDED = tuple(name for name, loss in LOSSES.items() if loss.width(2) < math.inf)
"""Losses that a certificate without assumptions can be given of."""
