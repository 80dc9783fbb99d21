"""Laws of one shape in any width: noise λ z, where z has a fixed law and sigma says the standard deviation per coordinate."""

import math
from typing import Any, ClassVar

from pydantic import Field

from certflow.kinds.registry import lazy
from certflow.noise.base import AdditiveNoise, Key

philox = lazy("certflow.noise.philox")
directions = lazy("certflow.noise.directions")

LEAST_POWER, LARGEST_POWER = 0.1, 1e9
"""The powers k of a norm and a of a density: beyond them scales, such as d^(-1/k), may be beyond the numbers of a computer."""


class Scaled(AdditiveNoise):
    """Base of the families of Yang et al. (2020), "Randomized smoothing of all shapes and sizes"."""

    sigma: float = Field(gt=0)
    """Standard deviation per coordinate (root mean square), in [0,1]-pixel units: comparable between all laws."""

    def unit_sigma(self, dim: int) -> float:
        """The standard deviation per coordinate of z in `dim` dimensions."""
        raise NotImplementedError

    def scale(self, dim: int) -> float:
        """λ = sigma / unit_sigma, in [0,1]-pixel units. ValueError where the law does not exist in so few dimensions."""
        for problem in self.problems(dim):
            raise ValueError(problem)
        return self.sigma / self.unit_sigma(dim)


class Independent(Scaled):
    """Laws whose coordinates are independent, symmetric and alike."""

    def values(self, signed: Any) -> Any:
        """z, float32 [rows, dim], from values uniform on (-1, 1) with signs of their own (`certflow.noise.philox.signed`)."""
        raise NotImplementedError

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape], see `AdditiveNoise.sample`."""
        dim = math.prod(shape)
        signed = philox.signed(dim, key)
        return self.noise(signed, dim).view(-1, *shape)

    def noise(self, signed: Any, dim: int) -> Any:
        """λz, from what `values` takes."""
        return self.values(signed).mul_(self.scale(dim))


class Radial(Scaled):
    """Laws that depend on one norm alone: a length times a direction of the cone measure, independent of each other."""

    norm: ClassVar[str]
    """l1, l2 or linf."""

    def log_length(self, dim: int, key: Key) -> Any:
        """float64 [rows]: ln ‖z‖."""
        raise NotImplementedError

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape], see `AdditiveNoise.sample`."""
        dim = math.prod(shape)
        length = self.log_length(dim, key).exp() * self.scale(dim)
        return directions.along(self.norm, shape, key, length)


def wide(key: Key, number: int = 0) -> Any:
    """float64 [rows]: a uniform variate for each draw (`certflow.noise.philox.wide_uniforms`)."""
    return philox.wide_uniforms(key, number)
