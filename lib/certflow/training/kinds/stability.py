"""Stability training (Li, Chen, Wang and Carin 2019, "Certified adversarial robustness with additive noise")."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("stability")
class Stability(MethodSpec):
    """Minimise the cross-entropy of clean images, and that of noisy predictions to the clean ones.

    Two forward passes, clean and noisy, each with batch statistics of its own. Loader batches are not split.
    """

    kind: Literal["stability"] = "stability"
    splits: ClassVar[bool] = False

    lbd: float = Field(2.0, ge=0)
    """Weight of the stability term (the paper's gamma); 1 or 2 in published runs."""

    @property
    def cost(self) -> float:
        """The clean image, and each noisy copy."""
        return 1.0 + self.noises

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [CE(f(x_b), y_b) + lbd·(1/m) Σ_i CE(f(x_b + δ_{i,b}), softmax f(x_b))]; logs the first term."""
        clean = batch.forward(batch.x[None])
        noisy = batch.forward(batch.copies(self.noises))
        label = losses.cross_entropy(clean, batch.y).mean()
        objective = label + self.lbd * losses.stability(clean[0], noisy).mean()
        return objective, {"loss": label.detach(), "accuracy": losses.accuracy(noisy, batch.y)}
