"""Training the smoothed soft classifier itself (Yang et al. 2020; Salman et al. 2019 without attacks)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

losses = lazy("certflow.training.losses")


@register("direct")
class Direct(MethodSpec):
    """Minimise the cross-entropy of the mean prediction for `noises` copies; `gaussian` takes the mean of cross-entropies.

    All copies go through the network in one pass; loader batches are not split.
    """

    kind: Literal["direct"] = "direct"
    splits: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {"noises": 4}

    noises: int = Field(16, ge=1, le=1024)
    """Noisy copies per image and step; 16 in the published code."""

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b -log((1/m) Σ_i softmax f(a_{i,b})_{y_b})."""
        logits = batch.forward(batch.copies(self.noises))
        label = losses.log_mean_probabilities(logits).gather(1, batch.y[:, None])
        return -label.mean(), {"accuracy": losses.accuracy(logits, batch.y)}
