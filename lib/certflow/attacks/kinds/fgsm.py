"""The fast gradient sign method (Goodfellow, Shlens and Szegedy 2015), in l2 a step along the gradient."""

from typing import Any, ClassVar, Literal

from certflow.attacks.base import AttackSpec
from certflow.kinds.registry import register


@register("fgsm")
class Fgsm(AttackSpec):
    """x + eps · sign ∇ loss, cut to [0,1]; in l2 x + eps · ∇ loss / ‖∇ loss‖. The loss is the cross-entropy."""

    kind: Literal["fgsm"] = "fgsm"
    example: ClassVar[dict[str, Any]] = {"eps": [0.25]}

    @property
    def passes(self) -> int:
        """One."""
        return 1

    def attempt(self, target: Any, number: int) -> Any:
        """See `AttackSpec.attempt`."""
        from certflow.attacks.ascent import ascend

        return ascend(target, lambda x: target.cross_entropy(x[None]), norm=self.norm, steps=1, step=1.0, number=number)
