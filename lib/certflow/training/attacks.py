"""Attacks within training: perturbations that mislead the smoothed classifier or the classifier on each noisy copy.

All take a `Batch` and its noises [m, images, ...], start at no perturbation, and work on all m noises in one forward pass per
step, in eval mode: rows do not see each other, so the results are those of a loop over noises and images. The model's mode,
running statistics, parameters and their gradients are left as they were. Nothing here waits for the device.

G(x) = (1/m) Σ_i softmax f(x + δ_i) is the smoothed soft classifier; ε bounds the l2 norm per image in [0,1]-pixel units.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float

from certflow.training import losses
from certflow.training.batch import Batch
from certflow.training.fast.frozen import frozen

IMAGE = (-3, -2, -1)
"""The axes of one image."""

Images = Float[torch.Tensor, "images channels height width"]
Noises = Float[torch.Tensor, "m images channels height width"]
Rows = Float[torch.Tensor, "*rows channels height width"]


def norms(rows: Rows) -> Float[torch.Tensor, "*rows 1 1 1"]:
    """l2 norm of each image."""
    return torch.linalg.vector_norm(rows, dim=IMAGE, keepdim=True)


def project(rows: Rows, radius: float) -> Rows:
    """Images of norm above `radius` scaled to it (in float32 at most (1 + 1e-6) times it)."""
    size = norms(rows)
    return rows * (radius / (size + 1e-7)).where(size > radius, 1.0)


def unit(rows: Rows) -> Rows:
    """Rows divided by their norm; where that is 0 they stay 0."""
    return rows / (norms(rows) + 1e-8)


def unit_or_normal(rows: Rows, fresh: Rows) -> Rows:
    """Rows divided by their norm; where that is 0, the row of `fresh` as it is."""
    size = norms(rows)
    return (rows / size).where(size > 0, fresh)


def gradient(value: Callable[[Rows], torch.Tensor], at: Rows) -> Rows:
    """Gradient of the sum of `value` at a point."""
    at = at.detach().requires_grad_()
    return torch.autograd.grad(value(at).sum(), at)[0]


def check_images(x: Images) -> None:
    """Refuse images outside [0,1], to which attacks clip. On a GPU the device itself checks, and the host does not wait."""
    try:
        torch._assert_async(((x >= 0) & (x <= 1)).all(), "images have values outside [0,1]")
    except RuntimeError as error:
        raise ValueError(f"{error}; attacks clip to [0,1], so scale the images first") from None


def smoothadv_pgd(batch: Batch, noise: Noises, *, epsilon: float, steps: int, gradient_free: bool = False) -> Images:
    """x + Δ of SmoothAdv (Salman et al. 2019): ascent on −log G(x + Δ)_y in steps of 2ε/T, clipped, then projected.

    Where the gradient of an image vanishes it moves by a standard normal tensor instead. `gradient_free`: the direction is
    −(1/m) Σ_i F(x + Δ + δ_i)_y δ_i, up to a positive factor the gradient's estimate by Stein's lemma; no back-propagation.
    """
    check_images(batch.x)
    direction = _stein if gradient_free else _ascent
    delta = torch.zeros_like(batch.x)
    with frozen(batch.model):
        for step in range(steps if epsilon > 0 else 0):
            g = unit_or_normal(direction(batch, noise, batch.x + delta), batch.normal(step))
            delta = (batch.x + delta + 2 * epsilon / steps * g).clamp(0, 1) - batch.x
            delta = project(delta, epsilon)
    return (batch.x + delta).clamp(0, 1)


def consistency_pgd(batch: Batch, noise: Noises, *, epsilon: float, steps: int) -> Images:
    """x + Δ of Consistency with SmoothAdv: as `smoothadv_pgd`, but projected, then clipped; vanished gradients stay so."""
    check_images(batch.x)
    delta = torch.zeros_like(batch.x)
    with frozen(batch.model):
        for _ in range(steps if epsilon > 0 else 0):
            g = unit(_ascent(batch, noise, batch.x + delta))
            delta = project(delta + 2 * epsilon / steps * g, epsilon)
            delta = (batch.x + delta).clamp(0, 1) - batch.x
    return (batch.x + delta).clamp(0, 1)


def smoothmix_ascent(
    batch: Batch, noise: Noises, *, alpha: float, steps: int, mix_step: int, radius: float | None, start_radius: float
) -> tuple[Images, Images]:
    """(x0, x_adv) of SmoothMix (Jeong et al. 2021): ascent on −log G_y in steps of `alpha`, clipped to [0,1].

    x_adv is the last iterate, kept within `radius` of x if that is given. x0 is iterate `mix_step` (0, and `steps` or more:
    x itself), projected to `start_radius` around x and clipped.
    """
    check_images(batch.x)
    found = start = batch.x
    with frozen(batch.model):
        for step in range(steps):
            if step == mix_step:
                start = found
            found = found + alpha * unit(_ascent(batch, noise, found))
            if radius is not None:
                found = batch.x + project(found - batch.x, radius)
            found = found.clamp(0, 1)
    start = batch.x + project(start - batch.x, start_radius)
    return start.clamp(0, 1), found


def kl_attack(
    batch: Batch, noise: Noises, target: Float[torch.Tensor, "images classes"], *, epsilon: float, steps: int
) -> Noises:
    """Noises near the given ones that lead away from `target` (CAT-RS, FT-CADIS): ascent on each KL(target ‖ F(x + n_i)).

    After each step of 2ε/T every noise is projected to ε around where it began and brought back to the mean and the root mean
    square of its entries, so that it still looks like a draw; that may carry it past ε by a relative 1e-3. Not clipped. A noise
    of zeros, which a perfect denoiser would leave, stays as it is.
    """
    check_images(batch.x)
    found, mean, scale = noise, noise.mean(IMAGE, keepdim=True), _rms(noise)
    with frozen(batch.model):
        for _ in range(steps if epsilon > 0 else 0):
            g = gradient(lambda n: losses.kl_of_data(target, batch.forward(batch.x + n)), found)
            found = noise + project(found + 2 * epsilon / steps * unit(g) - noise, epsilon)
            found = mean + scale * (found - found.mean(IMAGE, keepdim=True)) / _rms(found)
    return found


def smoothadv_ddn(batch: Batch, noise: Noises, *, epsilon: float, steps: int, gamma: float) -> Images:
    """x + Δ of SmoothAdv by decoupled direction and norm (Rony et al. 2019): a smallest Δ that fools the majority vote.

    The norm starts at ε, shrinks by `gamma` while the vote is wrong and grows while it is right. Best Δ: the smallest that
    fooled the vote, else none; the last iterate is not tried. It is projected to ε and rounded to multiples of 1/255, which
    may exceed ε by half of 1/255 per pixel.
    """
    check_images(batch.x)
    x, y = batch.x, batch.y
    cap = best_norm = norms(torch.maximum(x, 1 - x))
    delta = best = torch.zeros_like(x)
    size = torch.full_like(cap, epsilon)
    with frozen(batch.model):
        for step in range(steps if epsilon > 0 else 0):
            point = (x + delta).requires_grad_()
            logits = batch.forward(point + noise)
            (g,) = torch.autograd.grad(losses.smoothed_cross_entropy(logits, y).sum(), point)
            fooled = (majority(logits) != y)[:, None, None, None]
            better = fooled & (norms(delta) < best_norm)
            best, best_norm = delta.where(better, best), norms(delta).where(better, best_norm)
            rate = 0.01 + 0.495 * (1 + math.cos(math.pi * (step + 1) / steps))
            delta = delta + rate * unit_or_normal(g, batch.normal(step))
            size = (size * torch.where(fooled, 1 - gamma, 1 + gamma)).minimum(cap)
            delta = quantise(x + delta * (size / (norms(delta) + 1e-12))).clamp(0, 1) - x
    return (x + quantise(project(best, epsilon))).clamp(0, 1)


def majority(logits: losses.Logits) -> torch.Tensor:
    """The class that most noisy copies are given, int64 [images]; of equals the smallest."""
    votes = logits.detach().argmax(-1)[..., None] == torch.arange(logits.shape[-1], device=logits.device)
    return votes.sum(0).argmax(-1)


def quantise(rows: Rows) -> Rows:
    """The nearest multiples of 1/255."""
    return (rows * 255).round() / 255


def _ascent(batch: Batch, noise: Noises, x: Images) -> Images:
    """Gradient of −log G(x)_y by x."""
    return gradient(lambda at: losses.smoothed_cross_entropy(batch.forward(at + noise), batch.y), x)


@torch.no_grad()
def _stein(batch: Batch, noise: Noises, x: Images) -> Images:
    """−(1/m) Σ_i F(x + δ_i)_y δ_i."""
    label = batch.forward(x + noise).softmax(-1).gather(2, batch.y.expand(len(noise), -1)[..., None])
    return -(label[..., None, None] * noise).mean(0)


def _rms(rows: Rows) -> Float[torch.Tensor, "*rows 1 1 1"]:
    """Root mean square of each image's entries, never quite 0."""
    return rows.square().mean(IMAGE, keepdim=True).sqrt().clamp(min=1e-12)
