"""Exponential-power noise (Yang et al. 2020)."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.scaled import Independent

gamma, quantiles = lazy("certflow.noise.gamma"), lazy("certflow.noise.quantiles")


@register("expp")
class ExponentialPower(Independent):
    """Density ∝ exp(-Σ|ε_i/λ|^p): independent coordinates. p = 1 is Laplace, p = 2 Gaussian, a large p nearly uniform."""

    kind: Literal["expp"] = "expp"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5, "p": 4.0}

    p: float = Field(gt=0.01, le=100)
    """Power of the exponent. 4 and 8 lie between Gaussian and uniform noise."""

    def unit_sigma(self, dim: int) -> float:
        """sqrt(Γ(3/p) / Γ(1/p))."""
        return math.exp(log_unit_sigma(self.p))

    def noise(self, signed: Any, dim: int) -> Any:
        """|z|^p ~ Gamma(1/p), as the quantile of 1 - |u|, so that the resolution is finest in the tails."""
        return quantiles.inverted(signed, (unit_quantile, self.p)).mul_(self.sigma)


def unit_quantile(t: Any, tail: bool, p: float) -> Any:
    """The size of a variate of standard deviation 1 that is exceeded with probability t; not exceeded, if not `tail`.

    The standard deviation is taken off the logarithm: with small p, z itself is beyond the numbers of a computer.
    """
    log_z = gamma.log_quantiles_of(1 / p, t, above=tail) / p
    return np.exp(log_z - log_unit_sigma(p))


def log_unit_sigma(p: float) -> float:
    """ln sqrt(Γ(3/p) / Γ(1/p))."""
    return (math.lgamma(3 / p) - math.lgamma(1 / p)) / 2
