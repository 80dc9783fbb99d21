"""Virtual adversarial training (Miyato et al. 2019; ALUM, Liu et al. 2020): predictions that change little near the data."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks, losses, nearby = (lazy(f"certflow.training.{name}") for name in ("attacks", "losses", "nearby"))


@register("alum")
class Alum(MethodSpec):
    """Minimise the cross-entropy of noisy copies, plus how much predictions change in the direction that changes them most.

    The direction is found by ascent on KL(f(x) ‖ f(x + δ)) from a tiny random step; the penalty is that divergence plus its
    reverse. Loader batches are not split.
    """

    kind: Literal["alum"] = "alum"
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels", "tokens"})
    splits: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"differentiable"})
    example: ClassVar[dict[str, Any]] = {"radius": 0.05}

    radius: float = Field(8 / 255, gt=0)
    """How far a pixel of a copy is moved, [0,1]-pixel units (l-infinity); of texts each coordinate of a word's vector."""
    begin: float = Field(1e-5, gt=0)
    """Standard deviation of the random step at the beginning; the published code's value."""
    steps: int = Field(1, ge=1, le=100)
    """Steps of the ascent, of radius / steps times the gradient over its largest entry."""
    weight: float = Field(1.0, ge=0)
    """Weight of the penalty; 0: no ascent."""

    @property
    def cost(self) -> float:
        """Each copy is attacked, then learnt from twice."""
        return self.noises * (2 + 2 * self.steps / 3 if self.weight > 0 else 1)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/mB) Σ_{i,b} [CE(f(x_{i,b}), y_b) + weight·(KL(p ‖ q) + KL(q ‖ p))], p at the copy, q at the moved copy."""
        copies = batch.points(self.noises)
        found = self.moved(batch, copies) if self.weight > 0 else None
        logits = batch.forward(copies)
        label, logged = losses.cross_entropy(logits, batch.y).mean(), {"accuracy": losses.accuracy(logits, batch.y)}
        if found is None:
            return label, logged
        turned = batch.forward(found)
        both = losses.divergence(logits, turned) + losses.divergence(turned, logits)
        return label + self.weight * both.mean(), logged

    def moved(self, batch: "Batch", copies: "torch.Tensor") -> "torch.Tensor":
        """The copies, each moved to where predictions are most unlike those at the copy."""
        with attacks.frozen(batch.model):
            target = batch.forward(copies).detach()
            found = nearby.disturbed(batch, copies, self.begin)
            for _ in range(self.steps):
                way = nearby.direction(lambda at: losses.divergence(target, batch.forward(at)), found, "max")
                found = nearby.moved(batch, copies, found + self.radius / self.steps * way, self.radius, "linf")
        return found
