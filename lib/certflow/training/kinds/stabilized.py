"""Stabilised training of splitting and uniform noise (Levine and Feizi 2021, after Carmon et al. 2019 and Yang et al. 2020)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("stabilized")
class Stabilized(MethodSpec):
    """Minimise the cross-entropy of one noisy copy, and how far predictions for a second one differ from its predictions.

    Two forward passes, each with batch statistics of its own; gradients flow through both. Loader batches are not split. (The
    kind `stability` is another method: it compares noisy copies with the clean image.)
    """

    kind: Literal["stabilized"] = "stabilized"
    splits: ClassVar[bool] = False

    noises: Literal[2] = 2
    """Always 2."""
    lbd: float = Field(6.0, ge=0)
    """Weight of the second term; 6 in the paper."""

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [CE(f(a_b), y_b) + lbd·KL(softmax f(a_b) ‖ softmax f(a'_b))]; logs the first term."""
        first, second = (batch.forward(copies[None]) for copies in batch.copies(2))
        label = losses.cross_entropy(first, batch.y).mean()
        objective = label + self.lbd * losses.divergence(first, second).mean()
        return objective, {"loss": label.detach(), "accuracy": losses.accuracy(first, batch.y)}
