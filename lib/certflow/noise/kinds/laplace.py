"""Laplace noise (Teng et al. 2020; Lecuyer et al. 2019)."""

import math
from typing import Any, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.noise.scaled import Independent

directions = lazy("certflow.noise.directions")


@register("laplace")
class Laplace(Independent):
    """Density ∝ exp(-‖ε‖₁/λ) with λ = sigma/sqrt(2): every coordinate independently."""

    kind: Literal["laplace"] = "laplace"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}

    def unit_sigma(self, dim: int) -> float:
        """sqrt(2)."""
        return math.sqrt(2)

    def values(self, signed: Any) -> Any:
        """See `certflow.noise.directions.laplace`."""
        return directions.laplace(signed)
