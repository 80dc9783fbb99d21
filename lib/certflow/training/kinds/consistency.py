"""Consistency regularisation of smoothed classifiers (Jeong and Shin 2020)."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("consistency")
class Consistency(MethodSpec):
    """Minimise the cross-entropy of noisy copies, plus how much their predictions differ from their mean p̄.

    Loader batches are split. Gradients flow through p̄.
    """

    kind: Literal["consistency"] = "consistency"

    noises: int = Field(2, ge=1, le=1024)
    """Noise draws per image and step (the paper's m); with 1 the regulariser is the entropy alone."""
    lbd: float = Field(10.0, ge=0)
    """Weight of the divergence term."""
    eta: Annotated[float, OnlyWith("form", "default")] = Field(0.5, ge=0)
    """Weight of the entropy in form `default`; the other forms do not use it."""
    form: Literal["default", "xent", "kl", "mse"] = "default"
    """`default`: lbd·KL + eta·H. `xent`: lbd·(KL + H). `kl`: lbd·KL. `mse`: lbd·‖p_2 − p_1‖², for two noises."""
    entropy_form: Annotated[Literal["plain", "double_softmax"], OnlyWith("form", "default", "xent")] = "plain"
    """`double_softmax`: entropy of softmax(p̄), a mistake in the code behind DSRS's models; to reproduce these only."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.form == "mse" and self.noises != 2:
            raise ValueError(f"form mse compares two noisy copies; set noises: 2, got {self.noises}")
        return self

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [(1/m) Σ_i CE(f(x_b + δ_{i,b}), y_b) + regulariser_b]."""
        logits = batch.forward(self.copies(batch))
        label = losses.cross_entropy(logits, batch.y).mean()
        return label + self.regulariser(logits).mean(), {"accuracy": losses.accuracy(logits, batch.y)}

    def copies(self, batch: "Batch") -> "torch.Tensor":
        """The noisy copies [noises, images, ...] that are compared: of the clean images."""
        return batch.copies(self.noises)

    def regulariser(self, logits: "torch.Tensor") -> "torch.Tensor":
        """The regulariser of each image, from logits [m, images, classes]."""
        if self.form == "mse":
            return self.lbd * losses.squared_difference(logits)
        divergence = self.lbd * losses.consistency_kl(logits)
        if self.form == "kl":
            return divergence
        entropy = losses.entropy if self.entropy_form == "plain" else losses.double_softmax_entropy
        return divergence + (self.eta if self.form == "default" else self.lbd) * entropy(logits)
