"""Noise that falls as a power of the l2 norm (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.scaled import LARGEST_POWER, LEAST_POWER, Radial, wide

gamma = lazy("certflow.noise.gamma")
stirling = lazy("certflow.noise.radii.spherical.stirling")


@register("pow2")
class Pow2(Radial):
    """Density ∝ (1 + ‖ε/λ‖₂^k)^-a: spherical, with heavy tails."""

    kind: Literal["pow2"] = "pow2"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "k": 2.0, "a": 60.0}
    norm: ClassVar[str] = "l2"

    k: float = Field(2.0, ge=LEAST_POWER, le=100)
    """Power of the norm."""
    a: float = Field(gt=0, le=LARGEST_POWER)
    """Power of the density: above (d + 2)/k, so that sigma is finite."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(Γ((d + 2)/k) Γ(a - (d + 2)/k) / (Γ(d/k) Γ(a - d/k)) / d)."""
        step, over = 2 / self.k, self.a - (dim + 2) / self.k
        return math.exp((stirling.log_step(dim / self.k, step) - stirling.log_step(over, step)) / 2) / math.sqrt(dim)

    def log_length(self, dim: int, key: Key) -> Any:
        """‖z‖₂^k ~ Gamma(d/k) / Gamma(a - d/k)."""
        shape = dim / self.k
        return (gamma.log_quantiles(shape, wide(key)) - gamma.log_quantiles(self.a - shape, wide(key, 1))) / self.k

    def problems(self, dim: int) -> list[str]:
        """a must be above (d + 2)/k."""
        least = (dim + 2) / self.k
        return [] if self.a > least else [f"a={self.a:g} must be above (d + 2)/k = {least:g} for {dim} coordinates"]
