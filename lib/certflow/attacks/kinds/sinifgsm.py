"""SI-NI-FGSM: Nesterov's iterative method over scaled copies (Lin et al. 2020, Algorithm 1)."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.attacks.base import AttackSpec
from certflow.kinds.registry import register


@register("sinifgsm")
class SiniFgsm(AttackSpec):
    """Gradients of the cross-entropy at x / 2^i, i = 0, 1, ..., taken ahead of the iterate and gathered with momentum.

    ḡ = (1/m) Σ_i ∇ J((x_t + α μ g_t) / 2^i), g_{t+1} = μ g_t + ḡ / |ḡ|, x_{t+1} = x_t + α sign g_{t+1} with α = eps / steps,
    then back into the ball and the box. |·| is the mean absolute value, as in the authors' code; the paper says the sum. In l2
    |·| is the l2 norm, and a step goes along g_{t+1} / ‖g_{t+1}‖.
    """

    kind: Literal["sinifgsm"] = "sinifgsm"
    example: ClassVar[dict[str, Any]] = {"eps": [0.25], "steps": 3}

    steps: int = Field(10, ge=1, le=10_000)
    """Steps (the paper's T)."""
    momentum: float = Field(1.0, ge=0)
    """Decay of the gathered gradients (the paper's mu)."""
    scales: int = Field(5, ge=1, le=20)
    """Scaled copies at which each step looks (the paper's m)."""

    @property
    def copies(self) -> int:
        """`scales`."""
        return self.scales

    @property
    def passes(self) -> int:
        """One of each scaled copy at every step."""
        return self.steps * self.scales

    def attempt(self, target: Any, number: int) -> Any:
        """See `AttackSpec.attempt`."""
        from certflow.attacks.nesterov import ascend_ahead

        return ascend_ahead(target, norm=self.norm, steps=self.steps, momentum=self.momentum, scales=self.scales)
