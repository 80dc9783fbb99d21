"""Noise that falls exponentially with the l2 norm (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.scaled import LEAST_POWER, Radial, wide

gamma = lazy("certflow.noise.gamma")
stirling = lazy("certflow.noise.radii.spherical.stirling")


@register("exp2")
class Exp2(Radial):
    """Density ∝ ‖ε/λ‖₂^-j exp(-‖ε/λ‖₂^k). k = 2 and an even j is `generalized_gaussian` with its k = j/2; j = 0, `gaussian`."""

    kind: Literal["exp2"] = "exp2"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "k": 1.0}
    norm: ClassVar[str] = "l2"

    k: float = Field(1.0, ge=LEAST_POWER, le=100)
    """Power of the norm in the exponent."""
    j: float = Field(0.0, ge=0)
    """Power of the norm in front; at least k/2 below the number of coordinates."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(Γ((d + 2 - j)/k) / Γ((d - j)/k) / d)."""
        return math.exp(stirling.log_step((dim - self.j) / self.k, 2 / self.k) / 2) / math.sqrt(dim)

    def log_length(self, dim: int, key: Key) -> Any:
        """‖z‖₂^k ~ Gamma((d - j)/k)."""
        return gamma.log_quantiles((dim - self.j) / self.k, wide(key)) / self.k

    def problems(self, dim: int) -> list[str]:
        """(d - j)/k must be at least 1/2: where the length's law is nearer to 0, its radii take minutes to compute, or fail."""
        most = dim - self.k / 2
        return (
            [] if self.j <= most else [f"j={self.j:g} must be at most {most:g} for {dim} coordinates and k={self.k:g}"]
        )
