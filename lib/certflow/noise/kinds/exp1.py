"""Noise that falls exponentially with the l1 norm (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.scaled import LEAST_POWER, Radial, wide

gamma = lazy("certflow.noise.gamma")
stirling = lazy("certflow.noise.radii.spherical.stirling")


@register("exp1")
class Exp1(Radial):
    """Density ∝ exp(-‖ε/λ‖₁^k); k = 1 is Laplace noise."""

    kind: Literal["exp1"] = "exp1"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "k": 2.0}
    norm: ClassVar[str] = "l1"

    k: float = Field(2.0, ge=LEAST_POWER, le=100)
    """Power of the norm in the exponent."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(2/(d(d + 1)) · Γ((d + 2)/k) / Γ(d/k))."""
        return math.sqrt(2 / (dim * (dim + 1))) * math.exp(stirling.log_step(dim / self.k, 2 / self.k) / 2)

    def log_length(self, dim: int, key: Key) -> Any:
        """‖z‖₁^k ~ Gamma(d/k)."""
        return gamma.log_quantiles(dim / self.k, wide(key)) / self.k
