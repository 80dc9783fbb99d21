"""What the trials of a classifier show: wrong normalisation, units, channel order, class order, guessing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from certflow.models.probing import Trial
from certflow.stats import mcnemar

LARGEST_SIGMA = 1.0
"""A larger sigma may have been meant on the scale of 0 ... 255."""
SURE = 1e-4
"""A finding is a warning where chance would show as much with a smaller probability than this."""
CONVINCING = 0.5
"""A class order that is right on fewer images is not named: even an untrained network tells classes apart to some degree."""


@dataclass(frozen=True)
class Finding:
    """One thing found out. `warning`: the model is probably not used as it was trained to be. `remedy`: what to write."""

    text: str
    remedy: str = ""
    warning: bool = True

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


@dataclass(frozen=True)
class Order:
    """Class order found by assignment. `outputs[i]`: the output that stands for class i. `accuracy`: with that order."""

    outputs: np.ndarray
    accuracy: float
    p: float


def findings(
    labels: np.ndarray, clean: np.ndarray, noisy: np.ndarray, trials: Sequence[Trial], classes: int, sigma: float
) -> list[Finding]:
    """What is worth saying: the first of the known causes that fits, or nothing.

    labels, clean, noisy: int64 [images], true classes and those chosen on clean images and on noisy copies.
    """
    before, after = float((clean == labels).mean()), float((noisy == labels).mean())
    threshold = guessing(classes, len(labels))
    order = class_order(labels, clean, classes)
    found = (
        _renumber(order, before, labels)
        if order is not None
        else _better_way(trials, threshold)
        or _wrong_scale(before, after, threshold, sigma)
        or _guesses(before, after, threshold, classes)
        or _untrained(before, after, threshold)
    )
    return [] if found is None else [found]


def _better_way(trials: Sequence[Trial], threshold: float) -> Finding | None:
    """Another way to use the model that is surely better than the chosen one."""
    better = [trial for trial in trials if trial.gains > trial.losses and trial.p < SURE]
    best = max(better, key=lambda trial: trial.accuracy, default=None)
    if best is None or best.accuracy <= threshold:
        return None
    return Finding(
        f"used otherwise it is right on {best.accuracy:.1%} of noisy images instead of {best.chosen.mean():.1%} (paired test "
        f"on {len(best.right)} images, p = {best.p:.1g})",
        f"probably meant: {best.name}",
    )


def _wrong_scale(before: float, after: float, threshold: float, sigma: float) -> Finding | None:
    """Noise so large that sigma was probably meant on the scale of 0 ... 255."""
    if after > threshold or before <= threshold or sigma <= LARGEST_SIGMA:
        return None
    return Finding(
        f"it is right on {before:.1%} of clean images and on {after:.1%} under noise of sigma {sigma:g}, no better than "
        f"guessing",
        f"sigma is in units of [0,1] pixels; on the scale of 0 ... 255 it is sigma: {sigma / 255:.4g} that was meant",
    )


def _guesses(before: float, after: float, threshold: float, classes: int) -> Finding | None:
    """No better than chance, with or without noise."""
    if before > threshold or after > threshold:
        return None
    return Finding(
        f"it is right on {after:.1%} of noisy images, no better than guessing ({1 / classes:.1%}), however it is normalised "
        f"(clean images: {before:.1%})",
        "a model for another dataset or noise level, or one that was not trained",
    )


def _untrained(before: float, after: float, threshold: float) -> Finding | None:
    """Good on clean images alone: worth a remark, and no warning."""
    if after > max(threshold, before / 2):
        return None
    return Finding(
        f"it is right on {before:.1%} of clean images and on {after:.1%} of noisy ones: it was hardly trained under such noise",
        warning=False,
    )


def guessing(classes: int, images: int) -> float:
    """The accuracy up to which a classifier may be guessing: three standard errors above chance."""
    chance = 1 / classes
    return chance + 3 * (chance * (1 - chance) / images) ** 0.5


def class_order(labels: np.ndarray, chosen: np.ndarray, classes: int) -> Order | None:
    """Another numbering of the classes under which the classifier is right far more often; None where there is none.

    Each half of the images is judged under the assignment that the other half's confusion matrix gives (Kuhn 1955), so that
    an assignment is not judged on the images that it was made for. Significant at `SURE`, for two looks.
    """
    half = np.arange(len(labels)) % 2 == 0
    p = 1.0
    for fitted, judged in ((half, ~half), (~half, half)):
        outputs = _assignment(labels[fitted], chosen[fitted], classes)
        renumbered, plain = outputs[labels[judged]] == chosen[judged], labels[judged] == chosen[judged]
        gains, losses = int((renumbered & ~plain).sum()), int((plain & ~renumbered).sum())
        if gains > losses:
            p = min(p, 2 * mcnemar(gains, losses))
    if p >= SURE:
        return None
    outputs = _assignment(labels, chosen, classes)
    accuracy = float((outputs[labels] == chosen).mean())
    return Order(outputs, accuracy, p) if accuracy >= CONVINCING else None


def _assignment(labels: np.ndarray, chosen: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes]: the output that goes best with each class, each output once; where nothing decides, its own."""
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, chosen), 1)
    confusion[np.arange(classes), np.arange(classes)] += 0.5
    return linear_sum_assignment(confusion, maximize=True)[1]


def _renumber(order: Order, before: float, labels: np.ndarray) -> Finding:
    """The finding about another class order, with its cause where that is known."""
    classes = len(order.outputs)
    seen = np.unique(labels)
    text_order = np.array(sorted(range(classes), key=str))
    text = (
        f"its classes are in another order than the dataset's: right on {before:.1%} of clean images as numbered, on "
        f"{order.accuracy:.1%} when its outputs are renumbered (p = {order.p:.1g})"
    )
    if classes > 10 and (order.outputs[seen] == text_order[seen]).mean() > 0.9:
        remedy = "class folders called by numbers were sorted as text (0, 1, 10, 2): write class_index: numbers in the dataset"
    elif len(seen) == classes:
        remedy = f"write outputs: {order.outputs.tolist()} in the method entry, or class_names in the dataset"
    else:
        pairs = ", ".join(f"{c} → {order.outputs[c]}" for c in seen[order.outputs[seen] != seen][:8])
        remedy = f"class → output as found: {pairs}; write the order as outputs in the method entry, or as class_names"
    return Finding(text, remedy)
