"""Isotropic Gaussian noise (Cohen, Rosenfeld and Kolter 2019)."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import AdditiveNoise, Key

grid = lazy("certflow.noise.grid")
philox = lazy("certflow.noise.philox")
exact = lazy("certflow.noise.steps")


@register("gaussian")
class Gaussian(AdditiveNoise):
    """N(0, sigma^2 I): every coordinate independently, in [0,1]-pixel units, added before normalisation, never clipped."""

    kind: Literal["gaussian"] = "gaussian"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}

    sigma: float = Field(gt=0)
    """Standard deviation per coordinate, in [0,1]-pixel units; 0.25, 0.5 and 1.0 in most papers."""

    @property
    def exponent(self) -> int:
        """0: the Gaussian is N^g(0, sigma)."""
        return 0

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape]: sigma times the standard normals of `certflow.noise.philox.normals`."""
        channels, height, width = shape
        values = philox.normals(channels * height * width, key)
        return values.mul_(self.sigma).view(-1, channels, height, width)

    def steps(self, shape: tuple[int, ...], key: Key) -> Any:
        """int16 [rows, *shape]: round(255 e) for e ~ N(0, sigma^2), drawn by whole numbers (`certflow.noise.steps`)."""
        channels, height, width = shape
        dim = channels * height * width
        values = exact.steps(dim, key, sigma=self.sigma)
        return values.view(-1, channels, height, width)

    def distance(self, dim: int) -> float:
        """See `certflow.noise.grid.distance`."""
        return grid.distance(self.sigma, dim)

    def exact_problems(self) -> list[str]:
        """Sigma has a limit, far above what is used."""
        if self.sigma <= grid.LARGEST_SIGMA:
            return []
        return [f"exact noise reaches up to sigma {grid.LARGEST_SIGMA:g}, got {self.sigma:g}; use `arithmetic: float`"]
