"""Directions on the spheres of l1, l2 and l-infinity by the cone measure, as uniform points of the unit ball have them.

l1: values with the Laplace law; l2: with the normal law; each divided by its norm. l-infinity: values uniform on (-1, 1), of
which one, chosen uniformly, is set to 1 or -1 (Yang et al. 2020).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from certflow.noise import philox
from certflow.noise.base import Key

CHUNK = 4096
"""Most values that are added up in float32 before float64 takes over: relative errors of norms stay near 1e-7 in l2 and 2e-6 in
l1. Of more than 32,767 torch would add up a single row by parts, one for each thread."""
FIXED_POINT = 2.0**30
"""Summands as integers: a sum of integers is the same in any order, so a GPU's batch size cannot change a norm."""
FACE = 2
"""Which of a draw's wide variates chooses the coordinate and the sign in l-infinity. The first two are for lengths."""


def along(
    norm: str, shape: tuple[int, ...], key: Key, length: Float64[Tensor, " rows"]
) -> Float32[Tensor, "rows channels height width"]:
    """A vector of this length in `norm` for each row, in a direction that is independent of it."""
    values = DIRECTIONS[norm](shape[0] * shape[1] * shape[2], key, length)
    return values.view(-1, *shape)


def norms(values: Float32[Tensor, "rows dim"], power: int = 2) -> Float64[Tensor, " rows"]:
    """l1 (power 1) or l2 norms. A row's norm depends on that row alone, whatever the number of rows or threads."""
    return _serial_norms(values, power) if values.device.type == "cpu" else _fixed_point_norms(values, power)


def _round(dim: int, key: Key, length: Tensor) -> Tensor:
    values = philox.normals(dim, key)
    return values.mul_((length / norms(values)).float()[:, None])


def _pointed(dim: int, key: Key, length: Tensor) -> Tensor:
    values = laplace(philox.signed(dim, key))
    return values.mul_((length / norms(values, 1)).float()[:, None])


def _cubic(dim: int, key: Key, length: Tensor) -> Tensor:
    values = philox.signed(dim, key)
    face = philox.wide_uniforms(key, FACE)
    face = (face * (2 * dim)).long()
    values.scatter_(1, (face >> 1)[:, None], (1 - 2 * (face & 1)).float()[:, None])
    return values.mul_(length.float()[:, None])


DIRECTIONS: dict[str, Callable[[int, Key, Tensor], Tensor]] = {"l1": _pointed, "l2": _round, "linf": _cubic}


def laplace(signed: Float32[Tensor, "rows dim"]) -> Float32[Tensor, "rows dim"]:
    """±(-ln v) from ±v as `philox.signed` gives it: Laplace values of scale 1. They reach 22.2."""
    return signed.abs().log_().copysign_(signed)


def _serial_norms(values: Float32[Tensor, "rows dim"], power: int = 2) -> Float64[Tensor, " rows"]:
    """On a CPU torch adds up each row, or each of its equal parts, on one thread. Zeros make the parts equal."""
    dim = values.shape[1]
    parts = 1
    while dim > CHUNK * parts:
        parts *= 2
    values = F.pad(values, (0, -dim % parts)) if dim % parts else values
    pieces = torch.linalg.vector_norm(values.unflatten(1, (parts, -1)), power, dim=2)
    return pieces.double().pow(power).sum(dim=1).pow(1 / power)


def _fixed_point_norms(values: Float32[Tensor, "rows dim"], power: int = 2) -> Float64[Tensor, " rows"]:
    """Elsewhere the order of a sum may change with the number of rows: integers do not mind."""
    summands = values.abs().pow(power) * FIXED_POINT
    return (summands.long().sum(dim=1).double() / FIXED_POINT).pow(1 / power)
