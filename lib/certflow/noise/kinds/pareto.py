"""Noise with heavy tails: a power law in every coordinate (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.scaled import LARGEST_POWER, Independent


@register("pareto")
class Pareto(Independent):
    """Density ∝ Π(1 + |ε_i|/λ)^(-a-1): every coordinate independently. For a → ∞ it is Laplace noise."""

    kind: Literal["pareto"] = "pareto"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "a": 20.0}

    a: float = Field(gt=2, le=LARGEST_POWER)
    """Power of the tail: P(|ε_i| > t) = (1 + t/λ)^-a. Above 2, so that sigma is finite."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(2 / ((a - 1)(a - 2)))."""
        return math.sqrt(2 / ((self.a - 1) * (self.a - 2)))

    def values(self, signed: Any) -> Any:
        """|z| = |u|^(-1/a) - 1."""
        return signed.abs().log_().mul_(-1 / self.a).expm1_().copysign_(signed)
