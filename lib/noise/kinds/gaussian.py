"""Isotropic Gaussian noise N(0, sigma^2 I) (Cohen, Rosenfeld and Kolter 2019)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lib.noise.base import NoiseSpec
from lib.registry import register

if TYPE_CHECKING:
    import torch


@register("gaussian")
class Gaussian(NoiseSpec):
    """Independent normal noise on every coordinate."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: float = Field(gt=0)
    """Standard deviation per coordinate, [0,1]-pixel units."""

    def sample(
        self, shape: tuple[int, int, int], image: "torch.Tensor", draw: "torch.Tensor", *, seed: int, stream: int
    ) -> "torch.Tensor":
        from lib.noise import philox

        dim = shape[0] * shape[1] * shape[2]
        noise = philox.normals(dim, image, draw, seed=seed, stream=stream)
        return noise.mul_(self.sigma).reshape(len(image), *shape)
