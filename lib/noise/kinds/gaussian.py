"""Isotropic Gaussian noise (Cohen, Rosenfeld and Kolter 2019)."""

from typing import Any, Literal

from pydantic import Field

from lib.noise.base import NoiseSpec
from lib.registry import lazy, register

philox = lazy("lib.noise.philox")


@register("gaussian")
class Gaussian(NoiseSpec):
    """N(0, sigma^2 I): every coordinate independently, in [0,1]-pixel units, added before normalisation, never clipped."""

    kind: Literal["gaussian"] = "gaussian"

    sigma: float = Field(gt=0)
    """Standard deviation per coordinate, in [0,1]-pixel units; 0.25, 0.5 and 1.0 in most papers."""

    def sample(self, shape: tuple[int, int, int], image: Any, draw: Any, *, seed: int, stream: int) -> Any:
        """float32 [rows, *shape]: sigma times the standard normals of `lib.noise.philox.normals`."""
        channels, height, width = shape
        values = philox.normals(channels * height * width, image, draw, seed=seed, stream=stream)
        return values.mul_(self.sigma).view(-1, channels, height, width)
