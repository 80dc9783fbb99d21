"""Generalised Gaussian noise (Li, Zhang, Xie and Li 2022, "Double Sampling Randomized Smoothing", section 3)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import AdditiveNoise, Key
from certflow.noise.warmup import warm_exponent

radial = lazy("certflow.noise.radial")


@register("generalized_gaussian")
class GeneralizedGaussian(AdditiveNoise):
    """Density ∝ ‖ε‖^(-2k) exp(-‖ε‖²/(2s²)) with s = sigma·sqrt(d/(d - 2k)), so that E‖ε‖² = d·sigma² for every k.

    Sampled exactly: ε = s·sqrt(2t)·u with t ~ Gamma(d/2 - k, 1) and u uniform on the sphere. k = 0 is N(0, sigma² I), drawn
    from the same directions as `gaussian` draws its values, but not with the same bits.
    """

    kind: Literal["generalized_gaussian"] = "generalized_gaussian"
    example: ClassVar[dict[str, Any]] = {"k": 10, "sigma": 0.5}
    warms_up: ClassVar[bool] = True

    k: int = Field(ge=0)
    """Exponent. In the DSRS experiments d/2 - 12 on MNIST (380), d/2 - 6 on CIFAR-10 (1530), d/2 - 4 on ImageNet (75260)."""
    sigma: float = Field(gt=0)
    """Root mean square of a coordinate, in [0,1]-pixel units: comparable between all k."""

    @property
    def exponent(self) -> int | None:
        """k."""
        return self.k

    def gamma_shape(self, dim: int) -> float:
        """a = d/2 - k, the shape of the law of t = ‖ε‖²/(2s²). k = 0 is the Gaussian, which an odd d suits as well."""
        if self.k or dim < 2:
            for problem in self.problems(dim):
                raise ValueError(problem)
        return dim / 2 - self.k

    def scale(self, dim: int) -> float:
        """s = sigma·sqrt(d/(d - 2k)), in [0,1]-pixel units."""
        return self.sigma * math.sqrt(dim / (2 * self.gamma_shape(dim)))

    def law(self, shape: tuple[int, ...]) -> dict[str, float]:
        """What `certflow.noise.radial.radial_noise` needs for images of this shape."""
        dim = math.prod(shape)
        return {"gamma_shape": self.gamma_shape(dim), "scale": self.scale(dim)}

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape], see `certflow.noise.radial.radial_noise`."""
        return radial.radial_noise(shape, key, **self.law(shape))

    def warmed(self, counter: int, length: int) -> "GeneralizedGaussian":
        """The same law with k as far as `warm_exponent` lets it be."""
        return self.model_copy(update={"k": warm_exponent(self.k, counter, length)})

    def problems(self, dim: int) -> list[str]:
        """The number of coordinates must be even and k below half of it."""
        if dim % 2:
            return [f"generalized_gaussian needs an even number of coordinates, the images have {dim}"]
        if self.k >= dim // 2:
            return [f"k={self.k} must be below half the number of coordinates; at most k={dim // 2 - 1} for {dim}"]
        return []
