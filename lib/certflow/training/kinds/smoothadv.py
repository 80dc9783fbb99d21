"""SmoothAdv: adversarial training of the smoothed classifier (Salman et al. 2019)."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.noise.base import NoiseSpec
from certflow.training.attacked import AttackedSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks, losses = lazy("certflow.training.attacks"), lazy("certflow.training.losses")


@register("smoothadv")
class SmoothAdv(AttackedSpec):
    """Minimise the cross-entropy of noisy copies of x + Δ, where Δ attacks the average over the same noises.

    Loader batches are split. All published runs attack by PGD.
    """

    kind: Literal["smoothadv"] = "smoothadv"
    needs: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})
    example: ClassVar[dict[str, Any]] = {"steps": 2, "warmup": 2}

    noises: int = Field(2, ge=1, le=1024)
    """Noise draws per image and step, shared by attack and loss (the field's m)."""
    attack: Literal["pgd", "ddn"] = "pgd"
    """`ddn`: decoupled direction and norm; its first norm is the epoch's radius, as in the published code."""
    ddn_gamma: Annotated[float, OnlyWith("attack", "ddn")] = Field(0.05, gt=0, lt=1)
    """How much `ddn` shrinks or grows the norm per step."""
    gradient_free: bool = False
    """Estimate the direction from predictions alone (Stein), without back-propagation; `pgd` only."""

    @model_validator(mode="after")
    def _implemented(self) -> Self:
        if self.attack == "ddn" and self.gradient_free:
            raise ValueError("gradient_free is not implemented for attack ddn; set attack: pgd")
        return self

    def problems(self, noise: NoiseSpec) -> list[str]:
        if self.gradient_free and noise.exponent != 0:
            return [f"gradient_free estimates gradients under Gaussian noise only, not {noise.kind}"]
        return []

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/mB) Σ_{i,b} CE(f(x_b + Δ_b + δ_{i,b}), y_b)."""
        noise = batch.noise(self.noises)
        logits = batch.forward(self.attacked(batch, noise) + noise)
        return losses.cross_entropy(logits, batch.y).mean(), {"accuracy": losses.accuracy(logits, batch.y)}

    def attacked(self, batch: "Batch", noise: "torch.Tensor") -> "torch.Tensor":
        """x + Δ at the radius of the batch's epoch."""
        epsilon = self.epsilon(batch.epoch)
        if self.attack == "ddn":
            return attacks.smoothadv_ddn(batch, noise, epsilon=epsilon, steps=self.steps, gamma=self.ddn_gamma)
        return attacks.smoothadv_pgd(batch, noise, epsilon=epsilon, steps=self.steps, gradient_free=self.gradient_free)
