"""Noise distributions: laws on images, drawn as pure functions of (seed, image, draw, element)."""

from typing import Any

from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.kinds.dssn import DependentSplitting
from certflow.noise.kinds.gaussian import Gaussian
from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian
from certflow.noise.kinds.ssn import IndependentSplitting
from certflow.noise.streams import Stream

__all__ = [
    "AdditiveNoise",
    "DependentSplitting",
    "Gaussian",
    "GeneralizedGaussian",
    "IndependentSplitting",
    "Key",
    "NoiseSpec",
    "Stream",
    "noise",
]


def noise(kind: str, **fields: Any) -> NoiseSpec:
    """The noise of a registered kind: `noise("gaussian", sigma=0.25)`."""
    from certflow.kinds.registry import spec_class

    return spec_class("noise", kind)(**fields)
