"""Consistency regularisation on adversarial examples of SmoothAdv (Jeong and Shin 2020, section 4)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.training.attacked import AttackedSpec
from certflow.training.kinds.consistency import Consistency

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks = lazy("certflow.training.attacks")


@register("consistency_smoothadv")
class ConsistencySmoothAdv(Consistency, AttackedSpec):
    """Minimise the loss of `consistency` at x + Δ, where Δ attacks the average over the same noises.

    The attack is PGD that projects first and clips then: near the box its result is not that of `smoothadv`.
    """

    kind: Literal["consistency_smoothadv"] = "consistency_smoothadv"
    needs: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})
    example: ClassVar[dict[str, Any]] = {"steps": 2, "warmup": 2}

    def copies(self, batch: "Batch") -> "torch.Tensor":
        """The noisy copies of the attacked images."""
        noise = batch.noise(self.noises)
        return attacks.consistency_pgd(batch, noise, epsilon=self.epsilon(batch.epoch), steps=self.steps) + noise
