"""Attacks on each noisy copy by itself: random starts, directions and projections, for methods that train on such points."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float

from certflow.data.items import counting
from certflow.training.attacks import IMAGE, Noises, gradient, project, unit
from certflow.training.batch import Batch

Norm = Literal["l2", "linf"]


def start(batch: Batch, copies: Noises, radius: float, norm: Norm) -> Noises:
    """A random point of the ball around each copy (in l2: uniform direction, uniform distance); the copies for radius 0."""
    if radius == 0:
        return copies
    if norm == "linf":
        fresh = [2 * _uniform(batch, slot) - 1 for slot in range(len(copies))]
        return moved(batch, copies, copies + radius * torch.stack(fresh), radius, norm)
    ways = torch.stack([unit(batch.normal(slot)) for slot in range(len(copies))])
    sizes = torch.stack([batch.uniform(len(copies) + slot)[..., None, None] for slot in range(len(copies))])
    return moved(batch, copies, copies + radius * sizes * ways, radius, norm)


def disturbed(batch: Batch, copies: Noises, sd: float) -> Noises:
    """The copies with normal values of this standard deviation added."""
    return copies + sd * torch.stack([batch.normal(slot) for slot in range(len(copies))])


def moved(batch: Batch, copies: Noises, points: Noises, radius: float, norm: Norm) -> Noises:
    """The points, brought into the ball around each copy, and to where pixels may be.

    Those of a clean image stay in [0,1]; a pixel that noise took out of it goes no further. Vectors of words may be anywhere,
    and those of padding stay.
    """
    away, counts = points - copies, counting(batch.x)
    away = away if counts is None else away * counts[:, None, :, None]
    away = away.clamp(-radius, radius) if norm == "linf" else project(away, radius)
    if counts is not None:
        return copies + away
    return torch.minimum(torch.maximum(copies + away, copies.clamp(max=0)), copies.clamp(min=1))


def direction(
    value: Callable[[Noises], Float[torch.Tensor, "m images"]], at: Noises, norm: Literal["l2", "linf", "max"]
) -> Noises:
    """The gradient of each copy's value: its sign (`linf`), over its length (`l2`) or over its largest entry (`max`)."""
    found = gradient(value, at)
    if norm == "linf":
        return found.sign()
    if norm == "l2":
        return unit(found)
    return found / found.abs().amax(IMAGE, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)


def _uniform(batch: Batch, slot: int) -> torch.Tensor:
    """Uniform values in (0, 1) like the points."""
    return batch.uniform(slot, math.prod(batch.point)).view(-1, *batch.point)
