"""What the table of some images would be, from a few draws of each: estimated, never certified."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm, problems, shift_of
from certflow.sampling.base import SamplerSpec
from certflow.stats import clopper_pearson_failure
from certflow.stats.deconvolution import Law, law_of, observed
from certflow.stats.estimate import Estimate, accuracy_under, radius_under

AREA = 161
"""Radii between which the area under the accuracies is summed."""


@dataclass(frozen=True)
class Preview:
    """Counts of images' labels, and the table that n draws of each would give."""

    hits: np.ndarray
    """int64 [images]: draws that gave the label."""
    draws: np.ndarray
    """int64 [images]"""
    noise: NoiseSpec
    dim: int
    norm: Norm
    n: int
    """Draws per image of the table that is estimated."""
    alpha: float
    """Failure probability per image of the table that is estimated."""

    @cached_property
    def law(self) -> Law:
        """The law of the label's probability over images."""
        return law_of(observed(self.hits, self.draws))

    def accuracy(self, radii: np.ndarray) -> Estimate:
        """Certified accuracies at radii, as n draws of each image would give them."""
        return accuracy_under(self.law, self._limits(np.asarray(radii, np.float64)), self.n, self.alpha)

    def radius(self) -> Estimate:
        """The average certified radius that n draws of each image would give."""
        points = np.linspace(0.0, self.farthest, AREA)
        return radius_under(self.law, points, self._limits(points), self.n, self.alpha)

    @cached_property
    def farthest(self) -> float:
        """The largest radius that n draws can prove."""
        least = np.array([clopper_pearson_failure(self.n, self.n, self.alpha)], np.float64)
        return float(shift_of(self.noise, self.norm).radius(least, self.noise, self.dim)[0])

    def _limits(self, radii: np.ndarray) -> np.ndarray:
        """The largest share of misses with which each radius holds."""
        return shift_of(self.noise, self.norm).failure(radii, self.noise, self.dim)


def preview_problems(noise: NoiseSpec, sampler: SamplerSpec, norm: Norm, dim: int) -> list[str]:
    """Why no table can be estimated from this sampler's draws of this noise (empty: it can)."""
    found = [*problems(noise, norm), *sampler.noise_problems(noise, dim)]
    if sampler.enumerates:
        found.append(f"sampler: {sampler.kind} counts every outcome, so that there is nothing to estimate")
    if sampler.allots:
        found.append(
            f"sampler: {sampler.kind} allots draws by what stage 1 showed of the images, which the counts of stage 2 alone do "
            "not tell; use pilot, or fixed"
        )
    return found
