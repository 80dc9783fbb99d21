"""Points near noisy copies, and ways from them: what methods that attack every copy by itself have in common."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float

from certflow.training.attacks import IMAGE, Noises, gradient, project, unit
from certflow.training.batch import Batch

Norm = Literal["l2", "linf"]


def start(batch: Batch, copies: Noises, radius: float, norm: Norm) -> Noises:
    """A random point of the ball around each copy (in l2: uniform direction, uniform distance); the copies for radius 0."""
    if radius == 0:
        return copies
    if norm == "linf":
        fresh = [2 * _uniform(batch, slot) - 1 for slot in range(len(copies))]
        return moved(copies, copies + radius * torch.stack(fresh), radius, norm)
    ways = torch.stack([unit(batch.normal(slot)) for slot in range(len(copies))])
    sizes = torch.stack([batch.uniform(len(copies) + slot)[..., None, None] for slot in range(len(copies))])
    return moved(copies, copies + radius * sizes * ways, radius, norm)


def disturbed(batch: Batch, copies: Noises, sd: float) -> Noises:
    """The copies with normal values of this standard deviation added."""
    return copies + sd * torch.stack([batch.normal(slot) for slot in range(len(copies))])


def moved(copies: Noises, points: Noises, radius: float, norm: Norm) -> Noises:
    """The points, brought into the ball around each copy, and to where pixels may be.

    Those of a clean image stay in [0,1]; a pixel that noise took out of it goes no further.
    """
    away = points - copies
    away = away.clamp(-radius, radius) if norm == "linf" else project(away, radius)
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
    """Uniform values in (0, 1) like the images."""
    return batch.uniform(slot, batch.x[0].numel()).view(batch.x.shape)
