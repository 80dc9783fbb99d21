"""Noise distributions: laws on images, drawn as pure functions of (seed, image, draw, element)."""

from typing import Any

from lib.noise.base import NoiseSpec
from lib.noise.kinds.gaussian import Gaussian
from lib.noise.kinds.generalized_gaussian import GeneralizedGaussian
from lib.noise.streams import Stream

__all__ = ["Gaussian", "GeneralizedGaussian", "NoiseSpec", "Stream", "noise"]


def noise(kind: str, **fields: Any) -> NoiseSpec:
    """The noise of a registered kind: `noise("gaussian", sigma=0.25)`."""
    from lib.registry import spec_class

    return spec_class("noise", kind)(**fields)
