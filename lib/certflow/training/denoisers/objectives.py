"""What a denoiser in front of a frozen classifier is trained for (Salman et al. 2020, section 3.1)."""

from typing import cast

import torch
import torch.nn.functional as F

from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.trainee import Trainee
from certflow.training import losses
from certflow.training.batch import Batch

Stats = dict[str, torch.Tensor]


def loss(objective: str, batch: Batch) -> tuple[torch.Tensor, Stats]:
    """The objective on one mini-batch whose model is a `Trainee`, one noise draw per image, and what to log of it.

    mse, l1: mean over all elements of the squared or absolute difference D(x+δ) − x. stability: mean cross-entropy of
    f(D(x+δ)) with the class of f(x), x as augmented; it never looks at the labels. classification: with the label.
    """
    trainee = cast(Trainee, batch.model)
    x, noisy = batch.x, batch.copies(1)[0]
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=batch.precision == "bfloat16"):
        denoised = trainee.composed.denoiser(noisy)
        if objective in ("mse", "l1"):
            return _distance(objective, denoised.float(), x), {}
        judge = trainee.judge(batch.number)
        target = batch.y if objective == "classification" else _class_of(judge, x)
        logits = judge.classify(denoised)[None].float()
    return losses.cross_entropy(logits, target).mean(), {"accuracy": losses.accuracy(logits, target)}


def _distance(objective: str, denoised: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(denoised, x) if objective == "mse" else F.l1_loss(denoised, x)


@torch.no_grad()
def _class_of(judge: DenoiseThenClassify, x: torch.Tensor) -> torch.Tensor:
    """The hard label that a frozen classifier gives the clean image."""
    return judge.classify(x).argmax(dim=1)
