"""The second law of DSRS that has a radius of its own for every image: generalised Gaussian noise inside a ball."""

from typing import Any, Literal

from certflow.kinds.registry import lazy
from certflow.noise.base import Key
from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian

radial = lazy("certflow.noise.radial")


class Truncated(GeneralizedGaussian):
    """Generalised Gaussian noise given that ‖ε‖ ≤ T, where T is stated as the probability p_T = Pr[‖ε‖ ≤ T] of each image.

    No entry of the configuration: sampler `double` draws from it. Exact, without rejection (Li et al. 2022 reject).
    """

    kind: Literal["truncated"] = "truncated"

    @property
    def exponent(self) -> None:
        """None: inside a ball it is another law."""
        return None

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape]; `key.parameter`: the percentiles p_T in (0,1]."""
        if key.parameter is None:
            raise ValueError("truncated noise needs the percentile of every row")
        return radial.radial_noise(shape, key, mass=key.parameter, **self.law(shape))
