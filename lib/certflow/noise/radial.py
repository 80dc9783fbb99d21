"""Spherically symmetric noise: a direction from the normals of `philox`, a length from one Gamma variate per draw."""

import math

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from certflow.noise.base import Key
from certflow.noise.directions import along
from certflow.noise.gamma import log_quantiles
from certflow.noise.scaled import wide


def radial_noise(
    shape: tuple[int, ...],
    key: Key,
    *,
    gamma_shape: float,
    scale: float,
    mass: Float64[Tensor, " rows"] | None = None,
) -> Float32[Tensor, "rows channels height width"]:
    """scale · sqrt(2t) · u, where t ~ Gamma(gamma_shape, 1) and the unit vector u is uniform, independent of t.

    With `mass` (float64, in (0,1]) row r's t is conditioned on lying below its mass[r]-quantile. t is the quantile of
    `philox.wide_uniforms`, times the mass where there is one; u is the vector of the draw's normals, divided by its norm.
    """
    v = wide(key)
    if mass is not None:
        v = v * mass
    length = torch.exp(0.5 * log_quantiles(gamma_shape, v)) * (math.sqrt(2) * scale)
    return along("l2", shape, key, length)
