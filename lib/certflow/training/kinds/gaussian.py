"""Gaussian data augmentation (Cohen, Rosenfeld and Kolter 2019, section 3.3)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("gaussian")
class Gaussian(MethodSpec):
    """Minimise the mean cross-entropy of noisy copies: one fresh draw per image and step (`noises` of them if asked).

    Loader batches are not split: `noises` copies of every image go through the network in one pass.
    """

    kind: Literal["gaussian"] = "gaussian"
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels", "tokens"})
    splits: ClassVar[bool] = False

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/mB) Σ_{i,b} CE(f(x_b + δ_{i,b}), y_b)."""
        logits = batch.forward(batch.copies(self.noises))
        return losses.cross_entropy(logits, batch.y).mean(), {"accuracy": losses.accuracy(logits, batch.y)}
