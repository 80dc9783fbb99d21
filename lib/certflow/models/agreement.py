"""Whether two networks are the same function up to rounding: the measure by which every prepared network is judged."""

import torch
from jaxtyping import Float

Logits = Float[torch.Tensor, "rows classes"]

TOLERANCE = 1e-4
"""Largest difference that passes for rounding in float32, relative to how far logits differ between classes and images."""
EPS = torch.finfo(torch.float32).eps
ROUNDINGS = 64
"""A difference of this many roundings of the largest logit always passes: a large constant in all logits costs as much."""


def difference(wanted: Logits, found: Logits) -> float:
    """The largest difference of two networks' logits on the same images, relative to what the logits say.

    What is common to all classes of an image changes no prediction, and what is common to all images tells nothing about
    them; so both are left out of the scale, and the first also of the difference. A large offset thus hides nothing. Infinite
    where logits are not finite in one of the two only, or have different shapes; NaN where they are not finite on
    any image.
    """
    if wanted.shape != found.shape:
        return float("inf")
    if not bool(wanted.isfinite().all(dim=1).any()):
        return float("nan")
    wanted, found = (_told_apart(values) for values in (wanted, found))
    same = (wanted == found) | (wanted.isnan() & found.isnan())  # infinities too, whose difference would be no number
    apart = torch.where(same, 0.0, (wanted - found).abs()).max()
    return float("inf") if bool(apart.isnan()) else float(apart / _scale(wanted))


def agree(
    wanted: Logits, found: Logits, tolerance: float = TOLERANCE, *, eps: float = EPS, roundings: int = ROUNDINGS
) -> bool:
    """Whether the difference is at most `tolerance`, or at most `roundings` times `eps` times the largest logit."""
    if difference(wanted, found) <= tolerance:
        return True
    if wanted.shape != found.shape:
        return False
    wanted, found = wanted.double(), found.double()
    return bool((wanted - found).abs().max() <= roundings * eps * wanted.abs().max())


def _told_apart(logits: Logits) -> torch.Tensor:
    """Logits less their mean over the classes, in float64; rows with values that are not finite stay as they are."""
    logits = logits.double()
    finite = logits.isfinite().all(dim=1, keepdim=True)
    return logits - torch.where(finite, logits.mean(dim=1, keepdim=True), 0.0)


def _scale(logits: torch.Tensor) -> torch.Tensor:
    """The largest distance of a logit from the mean of its class over the images, among finite ones."""
    finite = logits[logits.isfinite().all(dim=1)]
    if len(finite) < 2:
        return logits.new_tensor(torch.finfo(torch.float32).tiny)
    return (finite - finite.mean(dim=0)).abs().max().clamp_min(torch.finfo(torch.float32).tiny)
