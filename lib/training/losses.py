"""Losses as pure functions of logits: float32 (or better), an explicit leading noise axis m, one value per image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int


def cross_entropy(
    logits: Float[torch.Tensor, "m images classes"], y: Int[torch.Tensor, " images"]
) -> Float[torch.Tensor, "m images"]:
    """−log softmax(logits)_y of every noisy copy; the labels are shared by the m copies of an image."""
    labels = y.expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none").view(logits.shape[:2])


def accuracy(
    logits: Float[torch.Tensor, "m images classes"], y: Int[torch.Tensor, " images"]
) -> Float[torch.Tensor, ""]:
    """Fraction of noisy copies whose largest logit is the label's, in float64."""
    return (logits.detach().argmax(-1) == y).double().mean()
