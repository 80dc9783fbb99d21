"""Exponential-power noise (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.scaled import Independent

gamma = lazy("certflow.noise.gamma")


@register("expp")
class ExponentialPower(Independent):
    """Density ∝ exp(-Σ|ε_i/λ|^p): independent coordinates. p = 1 is Laplace, p = 2 Gaussian, a large p nearly uniform."""

    kind: Literal["expp"] = "expp"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "p": 4.0}

    p: float = Field(gt=0.01, le=100)
    """Power of the exponent. 4 and 8 lie between Gaussian and uniform noise."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(Γ(3/p) / Γ(1/p))."""
        return math.exp((math.lgamma(3 / self.p) - math.lgamma(1 / self.p)) / 2)

    def values(self, signed: Any) -> Any:
        """|z|^p ~ Gamma(1/p), as the quantile of 1 - |u|, so that the resolution is finest in the tails."""
        log_power = gamma.log_quantiles(1 / self.p, 1 - signed.abs().double().flatten())
        return (log_power / self.p).exp().float().view_as(signed).copysign_(signed)
