"""Uniform noise on a cube (Lee et al. 2019; Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

from certflow.kinds.registry import register
from certflow.noise.scaled import Independent


@register("uniform")
class Uniform(Independent):
    """Every coordinate uniform on [-λ, λ], λ = sqrt(3)·sigma, independently. The largest l1 radii of additive laws up to
    p_lower = 0.93."""

    kind: Literal["uniform"] = "uniform"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}

    def unit_sigma(self, dim: int) -> float:
        """1/sqrt(3)."""
        return 1 / math.sqrt(3)

    def values(self, signed: Any) -> Any:
        """The uniform values themselves."""
        return signed
