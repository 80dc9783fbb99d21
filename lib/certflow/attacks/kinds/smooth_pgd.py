"""Projected gradient descent on the smoothed classifier (Salman et al. 2019, "SmoothAdv")."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.attacks.base import SmoothedAttack, SteppedAttack
from certflow.kinds.registry import register


@register("smooth_pgd")
class SmoothPgd(SmoothedAttack, SteppedAttack):
    """Ascent on -log of the mean softmax over noisy copies whose noise is fixed during an attempt, judged by fresh draws."""

    kind: Literal["smooth_pgd"] = "smooth_pgd"
    example: ClassVar[dict[str, Any]] = {"eps": [0.25], "steps": 3, "noises": 3, "restarts": 2, "n": 200}

    noises: int = Field(32, ge=1, le=1024)
    """Noisy copies at which each step looks (the paper's m)."""

    @property
    def copies(self) -> int:
        """`noises`."""
        return self.noises

    def attempt(self, target: Any, number: int) -> Any:
        """See `AttackSpec.attempt`."""
        copies = target.noisy(self.noises, number)
        return self.ascent(target, number, lambda x: target.smoothed_cross_entropy(copies(x)))
