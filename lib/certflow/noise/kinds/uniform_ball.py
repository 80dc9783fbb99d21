"""Uniform noise on a Euclidean ball (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from certflow.kinds.registry import register
from certflow.noise.base import Key
from certflow.noise.scaled import Radial, wide


@register("uniform_ball")
class UniformBall(Radial):
    """Uniform on the ball ‖ε‖₂ <= λ with λ = sigma·sqrt(d + 2)."""

    kind: Literal["uniform_ball"] = "uniform_ball"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}
    norm: ClassVar[str] = "l2"

    def unit_sigma(self, dim: int) -> float:
        """1/sqrt(d + 2)."""
        return 1 / math.sqrt(dim + 2)

    def log_length(self, dim: int, key: Key) -> Any:
        """ln(U^(1/d))."""
        return wide(key).log_() / dim
