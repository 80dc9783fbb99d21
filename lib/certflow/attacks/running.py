"""Attempts on images at given radii, one after the other until one succeeds."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from certflow.attacks.base import AttackSpec
from certflow.attacks.target import Target
from certflow.attacks.texts import TextVictim
from certflow.attacks.victim import Victim
from certflow.certify.predict import ABSTAIN
from certflow.errors import NonFiniteError


@dataclass
class Found:
    """What was found near each image: the first success, else the last attempt; the image itself where none was made."""

    images: torch.Tensor
    """Like the given ones."""
    predict: np.ndarray
    """int64 [images]: the class before, -1 where it is not settled."""
    attacked_predict: np.ndarray
    """int64 [images]: the class after."""
    norm: np.ndarray
    """float64 [images]: how far the found image is from the given one."""
    label: np.ndarray
    queries: np.ndarray
    """int64 [images]: passes of the image and its copies through the network by all attempts."""
    seconds: np.ndarray
    """float64 [images]: wall time of all attempts and their judging, shared out among the images of each."""

    @property
    def success(self) -> np.ndarray:
        """bool [images]: right before, and settled as another class after. An abstention is neither right nor a success."""
        return (self.predict == self.label) & wrong(self.attacked_predict, self.label)


def wrong(predict: np.ndarray, label: np.ndarray) -> np.ndarray:
    """bool [images]: settled as another class than the label."""
    return (predict != label) & (predict != ABSTAIN)


def attack_images(
    spec: AttackSpec,
    victim: Victim | TextVictim,
    images: torch.Tensor,
    label: np.ndarray,
    index: np.ndarray,
    eps: np.ndarray,
    predict: np.ndarray | None = None,
) -> Found:
    """Attack every image within its own radius.

    images: float32 [images, ...] in [0,1], or texts int64 [images, length]. label, index: int64 [images]; the index is the
    position in the full split. eps: float64 [images]. predict: `spec.predicted` of the images, where it is known. An image that
    is wrong already, or has radius 0, is left as it is. What is found for an image depends on the model, the image, its index
    and the seed alone.
    """
    x = victim.taken(images)
    label, index, eps = np.array(label, np.int64), np.array(index, np.int64), np.array(eps, np.float64)
    predict = spec.predicted(victim, x, index) if predict is None else predict
    found, after = x.clone(), predict.copy()
    queries, seconds = np.zeros(len(x), np.int64), np.zeros(len(x))
    waiting = ~wrong(predict, label) & (eps > 0)
    for number in range(spec.attempts):
        rows = np.flatnonzero(waiting)
        if len(rows) == 0:
            break
        started = time.monotonic()
        tried = attempt(spec, victim, x[rows], label[rows], index[rows], eps[rows], number)
        found[rows], after[rows] = tried, spec.predicted(victim, tried, index[rows], number)
        queries[rows] += spec.passes
        seconds[rows] += (time.monotonic() - started) / len(rows)
        waiting &= ~wrong(after, label)
    norm = spec.distance(found, x).cpu().numpy()
    return Found(found, predict, after, norm, label, queries, seconds)


def attempt(
    spec: AttackSpec,
    victim: Victim | TextVictim,
    x: torch.Tensor,
    label: np.ndarray,
    index: np.ndarray,
    eps: np.ndarray,
    number: int,
) -> torch.Tensor:
    """Attempt `number` on all images, in batches of one size: the last one is filled up with its last image."""
    device, found = x.device, []
    y, at, radii = (torch.from_numpy(values).to(device) for values in (label, index, eps))
    size = victim.at_once(spec.copies)
    with victim.held():
        for begin in range(0, len(x), size):
            rows = torch.arange(begin, begin + size, device=device).clamp(max=len(x) - 1)
            target = Target(victim.model, victim.noise, x[rows], y[rows], at[rows], radii[rows], victim.seed)
            found.append(spec.attempt(target, number)[: len(x) - begin])
    tried = torch.cat(found)
    _check_finite(tried, index)
    return tried


def _check_finite(tried: torch.Tensor, index: np.ndarray) -> None:
    bad = ~tried.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        worst = int(index[int(bad.nonzero()[0])])
        raise NonFiniteError(f"image {worst}: the model's gradients are NaN or infinite; check its weights")
