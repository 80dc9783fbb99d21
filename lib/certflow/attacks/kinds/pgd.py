"""Projected gradient descent on the classifier as it is (Madry et al. 2018)."""

from typing import Any, ClassVar, Literal

from certflow.attacks.base import SteppedAttack
from certflow.kinds.registry import register


@register("pgd")
class Pgd(SteppedAttack):
    """Ascent on the cross-entropy, under no noise.

    The first attempt starts at the image (the basic iterative method), the others at random points. The last iterate is judged.
    """

    kind: Literal["pgd"] = "pgd"
    example: ClassVar[dict[str, Any]] = {"eps": [0.25], "steps": 4, "restarts": 2}

    def attempt(self, target: Any, number: int) -> Any:
        """See `AttackSpec.attempt`."""
        return self.ascent(target, number, lambda x: target.cross_entropy(x[None]))
