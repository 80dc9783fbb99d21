"""Noise that falls as a power of the l-infinity norm (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.scaled import LARGEST_POWER, Radial, wide

gamma = lazy("certflow.noise.gamma")


@register("pow_inf")
class PowInf(Radial):
    """Density ∝ (1 + ‖ε/λ‖∞)^-a: its level sets are cubes, its tails heavy."""

    kind: Literal["pow_inf"] = "pow_inf"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "a": 100.0}
    norm: ClassVar[str] = "linf"

    a: float = Field(gt=3, le=LARGEST_POWER)
    """Power of the density: above d + 2, so that sigma is finite; P(‖ε‖∞ > t) falls like t^(d-a)."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(((d - 1)/3 + 1)(d + 1) / ((a - d - 1)(a - d - 2)))."""
        over = self.a - dim
        return math.sqrt(((dim - 1) / 3 + 1) * (dim + 1) / ((over - 1) * (over - 2)))

    def log_length(self, dim: int, key: Key) -> Any:
        """‖z‖∞ ~ Gamma(d) / Gamma(a - d)."""
        return gamma.log_quantiles(dim, wide(key)) - gamma.log_quantiles(self.a - dim, wide(key, 1))

    def problems(self, dim: int) -> list[str]:
        """a must be above d + 2."""
        return [] if self.a > dim + 2 else [f"a={self.a:g} must be above {dim + 2}, the number of coordinates plus 2"]
