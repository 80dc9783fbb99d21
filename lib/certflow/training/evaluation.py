"""Accuracy of the base classifier on noisy test images: one draw per image, not the smoothed classifier's accuracy."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from certflow.models.modes import in_mode
from certflow.noise.base import Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.training.batch import forward
from certflow.training.ranks import ALONE, Ranks

BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy, and the fractions of images whose label is the largest or among the five largest logits.

    `accuracy` is None for networks that do not classify, `top5` also where there are no more than five classes.
    """

    loss: float
    accuracy: float | None
    top5: float | None


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module,
    batches,
    noise: NoiseSpec,
    *,
    seed: int,
    epoch: int,
    precision: str,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Evaluate in eval mode with one draw per image, keyed by (seed, epoch, image); `batches` is ordered, not augmented.

    Processes that train together (`ranks`) each bring their rows of the batches, and all get the result.

    The model's own mode is put back.
    """
    totals = []
    with in_mode(model, training=False):
        for index, x, y in batches.epoch(0):
            if len(y) == 0:  # a batch of fewer images than processes
                continue
            noisy = noise.copies(x, Key.of(index, epoch, seed=seed, stream=Stream.TRAIN_EVALUATION))
            logits = forward(model, noisy[None], precision)[0]
            found = [F.cross_entropy(logits, y, reduction="sum").double(), *_hits(logits, y)]
            totals.append(torch.stack([*found, torch.full_like(found[0], len(y))]))
    *sums, images = ranks.add(torch.stack(totals).sum(0)).tolist()
    loss, *hits = (total / images for total in sums)
    return Evaluation(loss, hits[0], hits[1] if len(hits) > 1 else None)


def _hits(logits: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """Numbers of right predictions: top-1, and top-5 where there are more than five classes."""
    sizes = (1, 5) if logits.shape[1] > 5 else (1,)
    ranked = logits.topk(max(sizes), dim=1).indices == y[:, None]
    return [ranked[:, :size].sum().double() for size in sizes]
