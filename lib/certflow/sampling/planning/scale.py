"""Radii as planners weigh them: in units of sigma, of any noise in any norm in which `certflow.noise.radii` knows one."""

from dataclasses import dataclass

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm, shift_of


@dataclass(frozen=True)
class Scale:
    """Turns the probability of missing a class into a radius. Hashable: tables of radii are kept by it."""

    noise: NoiseSpec
    norm: Norm
    dim: int | None
    """Number of coordinates of an image; None where no radius depends on it."""

    def radius(self, failure: np.ndarray) -> np.ndarray:
        """float64 of the shape of `failure` (probabilities): the radius in units of sigma, continued below 0 beyond 1/2.

        Not rounded down, unlike certified radii: plans cost draws where they are wrong, never validity. The continuation,
        -radius(1 - failure), keeps interpolation smooth where radii begin.
        """
        shift = shift_of(self.noise, self.norm)
        if shift.standard is not None:
            return shift.standard(failure)
        near, far = (shift.radius(np.minimum(part, 0.5), self.noise, self.dim) for part in (failure, 1.0 - failure))
        return (near - far) / self.noise.sigma


def scale_of(noise: NoiseSpec, norm: Norm, dim: int | None) -> Scale:
    """How planners weigh draws of a noise; one scale for all levels where radii are sigma times a function of the failure.

    ValueError where no radius is known in this norm.
    """
    if shift_of(noise, norm).standard is None:
        return Scale(noise, norm, dim)
    return Scale(noise.model_copy(update={"sigma": 1.0}), norm, None)
