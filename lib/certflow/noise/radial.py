"""Spherically symmetric noise: a direction from the normals of `philox`, a length from one Gamma variate per draw."""

import math

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from certflow.noise import philox
from certflow.noise.gamma import log_quantiles

CHUNK = 4096
"""Squares added up in float32 before float64 takes over: the norm's relative error stays near 1e-7 for any image."""
FIXED_POINT = 2.0**30
"""Squares as integers: a sum of integers is the same in any order, so a GPU's batch size cannot change a norm."""


def radial_noise(
    shape: tuple[int, int, int],
    image: Int64[Tensor, " rows"],
    draw: Int64[Tensor, " rows"],
    *,
    seed: int,
    stream: int,
    gamma_shape: float,
    scale: float,
    mass: Float64[Tensor, " rows"] | None = None,
) -> Float32[Tensor, "rows channels height width"]:
    """scale · sqrt(2t) · u, where t ~ Gamma(gamma_shape, 1) and the unit vector u is uniform, independent of t.

    With `mass` (float64, in (0,1]) row r's t is conditioned on lying below its mass[r]-quantile. t is the quantile of
    `philox.wide_uniforms`, times the mass where there is one; u is the vector of the draw's normals, divided by its norm.
    """
    channels, height, width = shape
    v = philox.wide_uniforms(image, draw, seed=seed, stream=stream)
    if mass is not None:
        v = v * mass
    length = torch.exp(0.5 * log_quantiles(gamma_shape, v)) * (math.sqrt(2) * scale)
    values = philox.normals(channels * height * width, image, draw, seed=seed, stream=stream)
    values.mul_((length / norms(values)).float()[:, None])
    return values.view(-1, channels, height, width)


def norms(values: Float32[Tensor, "rows dim"]) -> Float64[Tensor, " rows"]:
    """Euclidean norms. A row's norm depends on that row alone, whatever the number of rows or threads."""
    return _serial_norms(values) if values.device.type == "cpu" else _fixed_point_norms(values)


def _serial_norms(values: Float32[Tensor, "rows dim"]) -> Float64[Tensor, " rows"]:
    """On a CPU torch adds up the squares of each row, or of each of its equal parts, on one thread."""
    dim = values.shape[1]
    parts = 1
    while dim % (2 * parts) == 0 and dim // parts > CHUNK:
        parts *= 2
    if parts == 1:
        return torch.linalg.vector_norm(values, dim=1).double()
    pieces = torch.linalg.vector_norm(values.unflatten(1, (parts, -1)), dim=2)
    return torch.sqrt(pieces.double().square().sum(dim=1))


def _fixed_point_norms(values: Float32[Tensor, "rows dim"]) -> Float64[Tensor, " rows"]:
    """Elsewhere the order of a sum may change with the number of rows: integers do not mind."""
    return torch.sqrt((values.square() * FIXED_POINT).long().sum(dim=1).double() / FIXED_POINT)
