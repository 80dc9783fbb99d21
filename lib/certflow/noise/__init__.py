"""Noise distributions: laws on images, drawn as pure functions of (seed, image, draw, element)."""

from typing import Any

from certflow.kinds.exports import exports
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.streams import Stream

_HOMES = {
    "DependentSplitting": "kinds.dssn",
    "Exp1": "kinds.exp1",
    "Exp2": "kinds.exp2",
    "ExpInf": "kinds.exp_inf",
    "ExponentialPower": "kinds.expp",
    "Gaussian": "kinds.gaussian",
    "GeneralizedGaussian": "kinds.generalized_gaussian",
    "IndependentSplitting": "kinds.ssn",
    "Laplace": "kinds.laplace",
    "Pareto": "kinds.pareto",
    "Pow2": "kinds.pow2",
    "PowInf": "kinds.pow_inf",
    "Uniform": "kinds.uniform",
    "UniformBall": "kinds.uniform_ball",
}

__all__ = ["AdditiveNoise", "Key", "NoiseSpec", "Stream", "noise", *sorted(_HOMES)]
__getattr__ = exports(__name__, _HOMES)


def noise(kind: str, **fields: Any) -> NoiseSpec:
    """The noise of a registered kind: `noise("gaussian", sigma=0.25)`."""
    from certflow.kinds.registry import spec_class

    return spec_class("noise", kind)(**fields)
