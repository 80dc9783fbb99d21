"""Noise that falls exponentially with the l-infinity norm (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.scaled import LEAST_POWER, Radial, wide

gamma = lazy("certflow.noise.gamma")
stirling = lazy("certflow.noise.radii.spherical.stirling")


@register("exp_inf")
class ExpInf(Radial):
    """Density ∝ ‖ε/λ‖∞^-j exp(-‖ε/λ‖∞^k): its level sets are cubes. For k → ∞ it is uniform noise."""

    kind: Literal["exp_inf"] = "exp_inf"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "k": 2.0}
    norm: ClassVar[str] = "linf"

    k: float = Field(10.0, ge=LEAST_POWER, le=100)
    """Power of the norm in the exponent; 10 in the paper's best runs."""
    j: float = Field(0.0, ge=0)
    """Power of the norm in front; below d - 1. l-infinity radii are known for 0 alone."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(((d - 1)/3 + 1)/d · Γ((d + 2 - j)/k) / Γ((d - j)/k))."""
        length = stirling.log_step((dim - self.j) / self.k, 2 / self.k)
        return math.sqrt(((dim - 1) / 3 + 1) / dim) * math.exp(length / 2)

    def log_length(self, dim: int, key: Key) -> Any:
        """‖z‖∞^k ~ Gamma((d - j)/k)."""
        return gamma.log_quantiles((dim - self.j) / self.k, wide(key)) / self.k

    def problems(self, dim: int) -> list[str]:
        """j must be below d - 1."""
        if self.j == 0 or self.j < dim - 1:
            return []
        return [f"j={self.j:g} must be below {dim - 1}, one less than the number of coordinates, under exp_inf noise"]
