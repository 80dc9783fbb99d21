"""Adversarial training (Madry, Makelov, Schmidt, Tsipras and Vladu 2018): learn from what an attack made of the images."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks, losses, nearby = (lazy(f"certflow.training.{name}") for name in ("attacks", "losses", "nearby"))


@register("adversarial")
class Adversarial(MethodSpec):
    """Minimise the cross-entropy at the end of an ascent on it, within a ball around each noisy copy.

    The baseline for methods that train without smoothing. Under noise every copy is attacked by itself; `smoothadv` attacks
    the smoothed classifier instead. Loader batches are not split.
    """

    kind: Literal["adversarial"] = "adversarial"
    revision: ClassVar[int] = 2
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels", "tokens"})
    splits: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"differentiable"})
    example: ClassVar[dict[str, Any]] = {"eps": 0.05, "steps": 2}

    norm: Literal["l2", "linf"] = "linf"
    """The ball's norm."""
    eps: float = Field(8 / 255, ge=0)
    """The ball's radius, [0,1]-pixel units; for texts in the space of the words' vectors."""
    steps: int = Field(7, ge=1, le=1000)
    """Steps of the ascent."""
    step_length: float = Field(2.5, gt=0)
    """Length of a step, in eps / steps."""
    random_start: bool = False
    """Start at a random point of the ball instead of the image."""

    @model_validator(mode="after")
    def _enough_coins(self) -> Self:
        # Each copy takes a direction and a distance, of 1024 slots.
        if self.random_start and self.norm == "l2" and self.noises > 512:
            raise ValueError(f"random_start with norm l2 goes with at most 512 noises, got {self.noises}")
        return self

    @property
    def cost(self) -> float:
        """Each copy is attacked, then learnt from."""
        return self.noises * (1 + 2 * self.steps / 3)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/mB) Σ_{i,b} CE(f(x_{i,b} + Δ_{i,b}), y_b), x_{i,b} being the noisy copies."""
        copies = batch.points(self.noises)

        def each(at: "torch.Tensor") -> "torch.Tensor":
            return losses.log_odds(batch.forward(at), batch.y)

        length = self.step_length * self.eps / self.steps
        with attacks.frozen(batch.model):
            found = nearby.start(batch, copies, self.eps if self.random_start else 0.0, self.norm)
            for _ in range(self.steps):
                found = nearby.moved(
                    batch, copies, found + length * nearby.direction(each, found, self.norm), self.eps, self.norm
                )
        logits = batch.forward(found)
        return losses.cross_entropy(logits, batch.y).mean(), {"accuracy": losses.accuracy(logits, batch.y)}
