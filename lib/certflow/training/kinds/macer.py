"""MACER: training that maximises the certified radius itself (Zhai et al. 2020)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.registry import lazy, register
from certflow.noise.base import NoiseSpec
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("macer")
class Macer(MethodSpec):
    """Minimise the cross-entropy of the smoothed soft classifier, plus a hinge on its radius where it is right.

    Loader batches are not split: `noises` copies of every image go through the network in one pass.
    """

    kind: Literal["macer"] = "macer"
    example: ClassVar[dict[str, Any]] = {"noises": 4}
    splits: ClassVar[bool] = False

    noises: int = Field(16, ge=1, le=1024)
    """Noise draws per image and step (the paper's k)."""
    lbd: float = Field(12.0, ge=0)
    """Weight of the robust term."""
    beta: float = Field(16.0, gt=0)
    """Inverse temperature of the softmax in the robust term."""
    gamma: float = Field(8.0, gt=0)
    """Images whose margin Φ⁻¹(q1) − Φ⁻¹(q2) exceeds this are left alone."""
    deferred: bool = False
    """Leave the robust term out until the first drop of the learning rate (epochs 0 to lr_step, the drop being late by 1)."""

    @model_validator(mode="after")
    def _reaches_the_robust_term(self) -> Self:
        if self.deferred and self.schedule != "step":
            raise ValueError(f"deferred waits for a drop of the learning rate; schedule {self.schedule} has none")
        if self.deferred and self._first_epoch >= self.epochs:
            raise ValueError(
                f"deferred would leave the robust term out until epoch {self._first_epoch}, but the last epoch is "
                f"{self.epochs - 1}; lower lr_step or set deferred: false"
            )
        return self

    @property
    def _first_epoch(self) -> int:
        """First epoch (from 0) with the robust term."""
        return self.lr_step + self.lr_drop_offset if self.deferred else 0

    def problems(self, noise: NoiseSpec) -> list[str]:
        if noise.exponent != 0:
            return [f"the radius that macer maximises is that of Gaussian noise, not of {noise.kind}"]
        return []

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [−log p̄_{b,y} + lbd·(σ/2)·(γ − ξ_b) where wanted]; logs the first term."""
        logits = batch.forward(batch.copies(self.noises))
        label = losses.macer_cross_entropy(logits, batch.y).mean()
        logged = {"loss": label.detach(), "accuracy": losses.accuracy(logits, batch.y)}
        if self.lbd == 0 or batch.epoch < self._first_epoch:
            return label, logged
        hinge = losses.macer_hinge(logits, batch.y, beta=self.beta, gamma=self.gamma).mean()
        return label + self.lbd * batch.noise_spec.sigma / 2 * hinge, logged
