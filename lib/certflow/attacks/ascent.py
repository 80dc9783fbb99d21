"""Projected gradient ascent in a norm ball (Madry et al. 2018), each image by itself."""

from collections.abc import Callable

import torch
from jaxtyping import Float64

from certflow.attacks.balls import Images, Norm, moved, steepest
from certflow.attacks.target import Target
from certflow.training.attacks import gradient

Objective = Callable[[Images], Float64[torch.Tensor, " images"]]


def ascend(target: Target, objective: Objective, *, norm: Norm, steps: int, step: float, number: int) -> Images:
    """The last of `steps` iterates from the start of attempt `number`; each moves by step · eps / steps where the objective
    grows most, and back into the ball and the box."""
    found = target.start(norm, number)
    length = (step / steps * target.eps)[:, None, None, None]
    for at in range(steps):
        way = steepest(gradient(objective, found), norm, lambda at=at: target.normal(number, at))
        found = stepped(target, found, length * way, norm)
    return found


def stepped(target: Target, found: Images, way: Images, norm: Norm) -> Images:
    """One step `way` from `found`, then back into the ball and the box."""
    return moved(target.x, found.double() - target.x.double() + way, target.eps, norm)
