"""The field's training methods in the straightforward way: what `benchmarks/training.py` compares ours with.

Formulas are those of `certflow.training`. Noises of an attack go through the network one after another, as in the published
code of SmoothMix and CAT-RS, those of a loss in one pass. Images and noise are float32 in NCHW, noise comes from torch's
generator, and numbers are read back wherever that is the shortest thing to write. Each function returns the loss of a
mini-batch, and the logits of one noisy copy of each image, for the accuracy.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from certflow.training.base import MethodSpec

Network = torch.nn.Module
Loss = Callable[[MethodSpec, Network, torch.Tensor, torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]


@contextmanager
def attacking(model: Network):
    """Eval mode, and no gradients for parameters."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    yield
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.train()


def draws(spec: MethodSpec, x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
    return [torch.randn_like(x) * sigma for _ in range(spec.noises)]


def passed(model: Network, x: torch.Tensor, noises: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Logits of each noisy copy, from one pass."""
    return model(torch.cat([x + noise for noise in noises])).chunk(len(noises))


def cross_entropy(logits, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(torch.cat(logits), y.repeat(len(logits)))


def mean_of(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """Added one by one, as the field's code does."""
    first, *others = values
    return sum(others, first) / (1 + len(others))


def divergence(p: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return F.kl_div(F.log_softmax(logits, 1), p, reduction="none").sum(1)


def ascent(model: Network, x: torch.Tensor, y: torch.Tensor, noises: list[torch.Tensor]) -> torch.Tensor:
    """Gradient of −log of the mean probability of the label, divided by its norm."""
    x = x.detach().requires_grad_()
    mean = mean_of(F.softmax(model(x + noise), 1) for noise in noises)
    (g,) = torch.autograd.grad(F.nll_loss(mean.clamp(min=1e-20).log(), y, reduction="sum"), x)
    return g / (g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-8)


def kept(delta: torch.Tensor, radius: float) -> torch.Tensor:
    return delta.flatten(1).renorm(2, 0, radius).view_as(delta)


def gaussian(spec, model, x, y, sigma):
    logits = passed(model, x, draws(spec, x, sigma))
    return cross_entropy(logits, y), logits[0]


def stability(spec, model, x, y, sigma):
    clean, noisy = model(x), model(x + torch.randn_like(x) * sigma)
    target = -(F.softmax(clean, 1) * F.log_softmax(noisy, 1)).sum(1).mean()
    return F.cross_entropy(clean, y) + spec.lbd * target, noisy


def macer(spec, model, x, y, sigma):
    m, normal = spec.noises, torch.distributions.Normal(0.0, 1.0)
    copies = x.repeat(1, m, 1, 1).view(-1, *x.shape[1:])
    logits = model(copies + torch.randn_like(copies) * sigma).view(len(x), m, -1)
    label = F.nll_loss((F.softmax(logits, 2).mean(1) + 1e-10).log(), y, reduction="sum")
    (q1, q2), (top, _) = (part.T for part in torch.topk(F.softmax(spec.beta * logits, 2).mean(1), 2))
    right = top == y
    margin = normal.icdf(q1[right]) - normal.icdf(q2[right])
    margin = margin[~torch.isnan(margin) & ~torch.isinf(margin) & (margin.abs() <= spec.gamma)]
    return (label + spec.lbd * sigma / 2 * (spec.gamma - margin).sum()) / len(x), logits[:, 0]


def regularised(spec, model, x, y, noises):
    """Cross-entropy and consistency, and logits."""
    logits = passed(model, x, noises)
    mean = mean_of(F.softmax(z, 1) for z in logits)
    kl = mean_of(divergence(mean, z) for z in logits)
    entropy = -(mean * mean.clamp(min=1e-20).log()).sum(1)
    return cross_entropy(logits, y) + (spec.lbd * kl + spec.eta * entropy).mean(), logits[0]


def consistency(spec, model, x, y, sigma):
    return regularised(spec, model, x, y, draws(spec, x, sigma))


def consistency_smoothadv(spec, model, x, y, sigma):
    noises, radius, delta = draws(spec, x, sigma), spec.epsilon(spec.warmup), torch.zeros_like(x)
    with attacking(model):
        for _ in range(spec.steps):
            delta = kept(delta + 2 * radius / spec.steps * ascent(model, x + delta, y, noises), radius)
            delta = (x + delta).clamp(0, 1) - x
    return regularised(spec, model, x + delta, y, noises)


def smoothadv(spec, model, x, y, sigma):
    noises, radius, delta = draws(spec, x, sigma), spec.epsilon(spec.warmup), torch.zeros_like(x)
    with attacking(model):
        for _ in range(spec.steps):
            delta = delta + 2 * radius / spec.steps * ascent(model, x + delta, y, noises)
            delta = kept((x + delta).clamp(0, 1) - x, radius)
    logits = passed(model, x + delta, noises)
    return cross_entropy(logits, y), logits[0]


def smoothmix(spec, model, x, y, sigma):
    noises, start, found = draws(spec, x, sigma), x, x
    with attacking(model):
        for step in range(spec.steps):
            start = found if step == spec.mix_step else start
            found = (found + spec.alpha * ascent(model, found, y, noises)).clamp(0, 1)
    start = (x + kept(start - x, spec.alpha * spec.mix_step)).clamp(0, 1) if spec.mix_step else x
    logits = passed(model, start, noises)
    mean = mean_of(F.softmax(z, 1) for z in logits)
    r = torch.rand(len(x), 1, 1, 1, device=x.device) / 2
    target = (1 - r[:, :, 0, 0]) * mean + r[:, :, 0, 0] / mean.shape[1]
    mixed = passed(model, (1 - r) * start + r * found, noises)
    mixture = mean_of((divergence(target, z) * (mean.argmax(1) == y)).mean() for z in mixed)
    return cross_entropy(logits, y) + spec.eta * mixture, logits[0]


def moved(
    model: Network, x: torch.Tensor, begin: torch.Tensor, target: torch.Tensor, step: float, radius: float, t: int
):
    """The noise `begin` after t steps away from the target."""
    noise, shape = begin, (-1, 1, 1, 1)
    mean, rms = begin.flatten(1).mean(1).view(shape), begin.flatten(1).square().mean(1).sqrt().view(shape)
    for _ in range(t):
        noise = noise.detach().requires_grad_()
        (g,) = torch.autograd.grad(divergence(target, model(x + noise)).sum(), noise)
        noise = noise + step * g / (g.flatten(1).norm(dim=1).view(shape) + 1e-8)
        noise = begin + kept(noise - begin, radius)
        flat = noise.flatten(1)
        noise = mean + rms * (noise - flat.mean(1).view(shape)) / flat.square().mean(1).sqrt().view(shape)
    return noise.detach()


def catrs(spec, model, x, y, sigma):
    noises, target, radius = draws(spec, x, sigma), F.one_hot(y, 10) * 0.8 + 0.02, spec.eps256 / 256
    logits = passed(model, x, noises)
    values = torch.stack([F.cross_entropy(z, y, reduction="none") for z in logits])
    share = torch.stack([(z.argmax(1) == y).float() for z in logits]).mean(0)
    k = torch.distributions.Binomial(len(noises), share).sample().clamp(min=1)
    order = values.sort(0).values
    low = torch.stack([order[: int(n), b].sum() / len(noises) for b, n in enumerate(k)])
    with attacking(model):
        worst = [moved(model, x, n, target, 2 * radius / spec.steps, radius, spec.steps) for n in noises]
    high = torch.stack([divergence(target, z) for z in passed(model, x, worst)]).amax(0)
    return (low + spec.lbd * (k == len(noises)) * high).mean(), logits[0]


LOSSES: dict[str, Loss] = {
    "gaussian": gaussian,
    "stability": stability,
    "macer": macer,
    "consistency": consistency,
    "smoothadv": smoothadv,
    "consistency_smoothadv": consistency_smoothadv,
    "smoothmix": smoothmix,
    "catrs": catrs,
}
"""Kind of a method → its loss."""
