"""Norm balls around images: steps, starts and projections in float64, and images that never lie outside of their ball.

Rounding goes toward the image. So an image that is called an attack at radius eps is one: a certificate of a larger radius that
it contradicts is wrong.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float

from certflow.noise import philox
from certflow.noise.base import Key
from certflow.training.attacks import IMAGE, norms, unit_or_normal

Norm = Literal["l2", "linf"]
Images = Float[torch.Tensor, "images channels height width"]
Radii = Float[torch.Tensor, " images"]

INWARD = 1 - 2.0**-30
"""Perturbations are scaled to this part of a radius: more than float64 loses in the norm of a million coordinates."""


def sizes(delta: Images, norm: Norm) -> Float[torch.Tensor, "images 1 1 1"]:
    """The norm of each perturbation, in float64."""
    delta = delta.double()
    return norms(delta) if norm == "l2" else delta.abs().amax(IMAGE, keepdim=True)


def project(delta: Images, eps: Radii, norm: Norm) -> Images:
    """float64: the nearest perturbations of norm at most `eps`. l2: scaled; linf: every coordinate cut off."""
    delta, limit = delta.double(), (INWARD * eps.double())[:, None, None, None]
    if norm == "linf":
        return delta.minimum(limit).maximum(-limit)
    size = norms(delta)
    return delta * (limit / size).where(size > limit, 1.0)


def moved(x: Images, delta: Images, eps: Radii, norm: Norm) -> Images:
    """x + delta of the type of x, in [0,1] and within `eps` of x.

    delta is projected; then every coordinate is rounded toward x, so that rounding cannot leave the ball either. x is in [0,1].
    """
    delta = project(delta, eps, norm)
    found = (x.double() + delta).to(x.dtype).clamp(0, 1)
    too_far = (found.double() - x.double()).abs() > delta.abs()
    return torch.nextafter(found, x).where(too_far, found)


def steepest(gradient: Images, norm: Norm, fresh: Callable[[], Images]) -> Images:
    """float64: the direction of norm 1 in which a function of this gradient grows most; in linf 0 where the gradient is 0.

    Where the whole gradient of an image vanishes, the direction of its row of `fresh`.
    """
    gradient = gradient.double()
    vanished = (gradient == 0).flatten(1).all(1)[:, None, None, None]
    if bool(vanished.any()):
        gradient = fresh().double().where(vanished, gradient)
    return gradient.sign() if norm == "linf" else unit_or_normal(gradient, gradient)


def random_point(shape: tuple[int, ...], key: Key, norm: Norm) -> Images:
    """float64: a uniform point of the unit ball for every image, a function of the key alone."""
    dim = shape[0] * shape[1] * shape[2]
    if norm == "linf":
        return (2 * philox.uniforms(dim, key).double() - 1).view(-1, *shape)
    way = philox.normals(dim, key).double().view(-1, *shape)
    reach = philox.wide_uniforms(key) ** (1 / dim)
    return reach[:, None, None, None] * way / norms(way)
