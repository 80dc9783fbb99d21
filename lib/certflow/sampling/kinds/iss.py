"""Input-specific sampling: the fewest draws that cost an image no more radius than tolerated (Chen et al. 2022)."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA, smallest_n_to_certify


@register("iss")
class Iss(SamplerSpec):
    """Each image gets the smallest n whose radius is within `tolerance` of that of n_max draws, judged by n0 stage-1 draws.

    Chen, Kong, Sun, Yu and Liu 2022 ("Input-specific robustness certification for randomized smoothing"), with two
    corrections. Their program adds the n0 stage-1 draws, which chose the class and n, to the counts that are certified, and
    where n < n0 it divides a count of n0 draws by n. At a tie, the first is wrong with 1.3 to 1.9 times alpha; the second
    claims radii that are false with certainty. Here all n draws are fresh. And the relative loss is planned for the worst
    probability of the whole stage-1 interval, not for the worse of its two ends.
    """

    kind: Literal["iss"] = "iss"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "tolerance": 0.1, "n_max": 2000}
    allots: ClassVar[bool] = True
    n0: int = Field(2000, ge=1, le=LARGEST_N)
    """Stage-1 draws per image: they choose the class and n, and are not certified."""
    tolerance: float = Field(gt=0)
    """Radius that may be lost against n_max draws: in pixel units with `loss: absolute`, as a share with `loss: relative`."""
    loss: Literal["absolute", "relative"] = "absolute"
    """`absolute` abstains, unsampled, wherever n_max draws would give less than `tolerance`; `relative` does not."""
    n_max: int = Field(100_000, ge=1, le=LARGEST_N)
    """Most stage-2 draws of an image."""
    granularity: int = Field(200, ge=1, le=LARGEST_N)
    """n is a multiple of this, or n_max."""
    alpha: Alpha = USUAL_ALPHA
    """Level that n is planned for; give the certificate the same. Another one there costs draws or radius, not validity."""

    norm: Norm = "l2"
    """The norm of the radii that n is planned for; give the certificate the same."""

    @property
    def draws(self) -> int:
        """`n_max`."""
        return self.n_max

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`."""
        from certflow.sampling.planning.scale import scale_of
        from certflow.sampling.planning.selection import select_classes
        from certflow.sampling.planning.tolerance import tolerant_draws

        selected, k0 = select_classes(counts, self.n0)
        tolerance = self.tolerance / noise.sigma if self.loss == "absolute" else self.tolerance
        limits = {"n_max": self.n_max, "granularity": self.granularity, "alpha": self.alpha}
        n = tolerant_draws(k0, self.n0, tolerance, self.loss, scale_of(noise, self.norm, dim), **limits)
        return {"selected": selected, "k0": k0, "n": n}

    def problems(self) -> list[str]:
        """See `SamplerSpec.problems`."""
        found = []
        if self.n_max < (least := smallest_n_to_certify(self.alpha)):
            found.append(
                f"n_max={self.n_max} draws can never certify at alpha={self.alpha:g}; at least {least} are needed"
            )
        if self.granularity > self.n_max:
            found.append(
                f"granularity={self.granularity} exceeds n_max={self.n_max}; every image would get n_max or nothing"
            )
        if self.loss == "relative" and self.tolerance >= 1:
            found.append(
                f"tolerance={self.tolerance:g} with loss: relative is a share of the radius; it must be below 1"
            )
        return found

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """See `SamplerSpec.noise_problems`: a radius must be known, and exceed the tolerance somewhere."""
        from certflow.noise.radii import problems
        from certflow.sampling.planning.scale import scale_of

        found = problems(noise, self.norm)
        if found or self.loss == "relative":
            return found
        failure = np.asarray(-np.expm1(np.log(self.alpha) / self.n_max))
        try:
            largest = noise.sigma * float(scale_of(noise, self.norm, dim).radius(failure))
        except ValueError as error:  # images on which this noise has no radii
            return [str(error)]
        if self.tolerance < largest:
            return []
        return [
            f"tolerance={self.tolerance:g} is not below the largest radius {largest:.4g}; no image would be sampled"
        ]
