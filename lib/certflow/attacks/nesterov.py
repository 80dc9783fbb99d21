"""Ascent with Nesterov's momentum over scaled copies of each image (Lin et al. 2020)."""

import torch

from certflow.attacks.ascent import stepped
from certflow.attacks.balls import Images, Norm, steepest
from certflow.attacks.target import Target
from certflow.training.attacks import IMAGE, gradient, norms


def ascend_ahead(target: Target, *, norm: Norm, steps: int, momentum: float, scales: int) -> Images:
    """The last of `steps` iterates from the images themselves; see `certflow.attacks.kinds.sinifgsm`."""
    shrink = 0.5 ** torch.arange(scales, device=target.x.device, dtype=target.x.dtype)[:, None, None, None, None]
    alpha = (target.eps / steps)[:, None, None, None]
    found, gathered = target.x, torch.zeros_like(target.x, dtype=torch.float64)
    for at in range(steps):
        ahead = (found.double() + alpha * momentum * gathered).to(target.x.dtype)
        slope = gradient(lambda x: target.cross_entropy(shrink * x), ahead).double()
        gathered = momentum * gathered + scaled(slope, norm)
        way = steepest(gathered, norm, lambda at=at: target.normal(0, at))
        found = stepped(target, found, alpha * way, norm)
    return found


def scaled(slope: Images, norm: Norm) -> Images:
    """The slope over its mean absolute value (linf) or its norm (l2); where it vanishes it stays so."""
    size = slope.abs().mean(IMAGE, keepdim=True) if norm == "linf" else norms(slope)
    return (slope / size).where(size > 0, 0.0)
