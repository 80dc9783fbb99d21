"""The regulariser of knowledge continuity: the volatility of a batch, with gradients (Sun, Ma, Ge and Vosoughi 2024).

P = mean over pairs i < j of |L_i − L_j| / (‖z_i − z_j‖ + s), z the pooled outputs of one hidden layer. Gradients flow through
losses and distances unless asked otherwise. The minimum has a constant loss and is useless; hence the warm-up of its weight.
"""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betaincinv

EXACT = 64
"""Rows up to which distances are taken by differences; beyond, the product form is ten times faster, and equal rows are then
at a distance of about 1e-3 of their lengths instead of 0."""
COLLAPSED = 0.9
"""Share of the cross-entropy of a network that says nothing, ln K, from which training counts as collapsed."""
RISEN, NOTABLE = 3.0, 0.3
"""It also counts as collapsed where cross-entropy is RISEN times that of the warm-up, and NOTABLE times ln K or more."""
ROUNDING = 1e-9
"""Epochs by which a product of a share and a number of epochs may lie above a whole number that it stands for."""

Distance = Literal["l1", "l2", "linf", "cosine"]
PairSum = Literal["mean", "peer"]
Detach = Literal["none", "z", "loss"]


def penalty(
    z: Float[torch.Tensor, "rows dim"],
    losses: Float[torch.Tensor, " rows"],
    *,
    stabiliser: float,
    distance: Distance = "l2",
    normalise: bool = False,
    detach: Detach = "none",
    pair_sum: PairSum = "mean",
) -> Float[torch.Tensor, ""]:
    """P of one batch; 0 for fewer than two rows. stabiliser: s, above 0.

    normalise: distances are divided by their mean, and the gradient goes through it, too: with a constant in its place, P would
    stay as it is under growth and its gradient would ask for growth all the same. detach: what gets no gradient. pair_sum:
    `peer` is the published code's sum over ordered pairs divided by the rows, B − 1 times the mean.
    """
    if stabiliser <= 0:
        raise ValueError(f"stabiliser: must be above 0, got {stabiliser}")
    if len(z) < 2:
        return (z.sum() + losses.sum()) * 0
    z, losses = z.detach() if detach == "z" else z, losses.detach() if detach == "loss" else losses
    apart = pair_distances(z, distance)
    if normalise:
        apart = apart / apart.mean().clamp(min=torch.finfo(apart.dtype).tiny)
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    found = ((losses[i] - losses[j]).abs() / (apart + stabiliser)).mean()
    return found * (len(z) - 1) if pair_sum == "peer" else found


def pair_distances(z: Float[torch.Tensor, "rows dim"], distance: Distance) -> Float[torch.Tensor, " pairs"]:
    """Distances of the pairs i < j in the order of `triu_indices`. Centred first, which loses no distance and saves digits.
    Gradients are 0 between equal rows."""
    if distance == "cosine":
        unit = torch.nn.functional.normalize(z, dim=1)
        return torch.nn.functional.pdist(unit).square() / 2
    z = z - z.mean(0).detach()
    if distance == "l2" and len(z) > EXACT:
        i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
        return torch.cdist(z, z, compute_mode="use_mm_for_euclid_dist")[i, j]
    return torch.nn.functional.pdist(z, {"l1": 1.0, "l2": 2.0, "linf": math.inf}[distance])


def sampled_layer(u: float, alpha: float, beta: float, layers: int) -> int:
    """The layer, from 0 in forward order, that a uniform variate in (0, 1] picks: ⌊v·layers⌋ with v ~ Beta(alpha, beta)."""
    return min(int(np.floor(betaincinv(alpha, beta, u) * layers)), layers - 1)


def weight(lbd: float, epoch: int, epochs: int, *, warmup: float, ramp: float) -> float:
    """The penalty's weight in an epoch (from 0): 0 over the share `warmup` of the run, then up to lbd over the share `ramp`."""
    over = epoch + 1 - math.ceil(warmup * epochs - ROUNDING)
    return 0.0 if over <= 0 else lbd * min(1.0, over / (ramp * epochs) if ramp > 0 else 1.0)


def collapse(share: float, ce: float, before: float | None) -> bool:
    """Whether an epoch's cross-entropy `ce`, a `share` of ln K, is that of a constant loss; `before`: of the warm-up's end."""
    return share > COLLAPSED or (before is not None and ce > RISEN * before and share > NOTABLE)
