"""Losses as pure functions of logits: float32 (or better), an explicit leading noise axis m, one value per image.

Gradients flow through every argument unless a docstring says otherwise. Means over images, weights and sums of terms are the
methods' (see `kinds`).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int

TINY = math.log(1e-20)
"""Logarithm of the probability below which the field's code stops taking logarithms."""

Logits = Float[torch.Tensor, "m images classes"]
PerImage = Float[torch.Tensor, " images"]


def cross_entropy(logits: Logits, y: Int[torch.Tensor, " images"]) -> Float[torch.Tensor, "m images"]:
    """−log softmax(logits)_y of every noisy copy; the labels are shared by the m copies of an image."""
    labels = y.expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), labels.reshape(-1), reduction="none").view(logits.shape[:2])


def log_odds(logits: Logits, y: Int[torch.Tensor, " images"]) -> Float64[torch.Tensor, "m images"]:
    """log((1 - p) / p) of every copy, p = softmax(logits)_y: it grows as the cross-entropy -log p does, in the same direction.

    However confident the network, this differs between inputs and has a slope, where those of -log p, (1 - p) times as large,
    are lost in rounding: an attack would follow nothing.
    """
    label = y.expand(logits.shape[:2])[..., None]
    logits = logits.double()
    return logits.scatter(2, label, -torch.inf).logsumexp(2) - logits.gather(2, label)[..., 0]


def right(logits: Logits, y: Int[torch.Tensor, " images"]) -> Bool[torch.Tensor, "m images"]:
    """Which copies are given their image's label; no gradient."""
    return logits.detach().argmax(-1) == y


def accuracy(logits: Logits, y: Int[torch.Tensor, " images"]) -> Float[torch.Tensor, ""]:
    """Fraction of noisy copies whose largest logit is the label's, in float64."""
    return right(logits, y).double().mean()


def log_mean_probabilities(logits: Logits) -> Float[torch.Tensor, "images classes"]:
    """log p̄, p̄ = (1/m) Σ_i softmax(logits_i): the smoothed soft classifier, finite even where p̄ underflows."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - math.log(len(logits))


def smoothed_cross_entropy(logits: Logits, y: Int[torch.Tensor, " images"]) -> PerImage:
    """−log max(p̄_y, 1e-20): what attacks on the smoothed classifier maximise (SmoothAdv, SmoothMix)."""
    label = log_mean_probabilities(logits).gather(1, y[:, None])[:, 0]
    return -label.clamp(min=TINY)


def kl(
    target: Float[torch.Tensor, "*m images classes"],
    log_target: Float[torch.Tensor, "*m images classes"],
    logits: Logits,
) -> Float[torch.Tensor, "m images"]:
    """KL(target ‖ softmax(logits_i)) of every noisy copy, from one target for all copies of an image or one for each.

    `log_target`: logarithms of `target`, finite throughout.
    """
    return (target * (log_target - logits.log_softmax(-1))).sum(-1)


def divergence(logits: Logits, others: Logits) -> Float[torch.Tensor, "m images"]:
    """KL(softmax(logits_i) ‖ softmax(others_i)) of every noisy copy."""
    log_target = logits.log_softmax(-1)
    return kl(log_target.exp(), log_target, others)


def kl_of_data(target: Float[torch.Tensor, "images classes"], logits: Logits) -> Float[torch.Tensor, "m images"]:
    """KL(target ‖ softmax(logits_i)) for targets that are data (no gradient) and may hold zeros: 0·log 0 = 0."""
    negentropy = torch.xlogy(target, target).sum(-1)
    return negentropy - (target * logits.log_softmax(-1)).sum(-1)


def stability(clean: Float[torch.Tensor, "images classes"], noisy: Logits) -> Float[torch.Tensor, "m images"]:
    """−Σ_c softmax(clean)_c log softmax(noisy_i)_c (Li et al. 2019); the target is not detached."""
    return -(clean.softmax(-1) * noisy.log_softmax(-1)).sum(-1)


def consistency_kl(logits: Logits) -> PerImage:
    """(1/m) Σ_i KL(p̄ ‖ p_i) (Jeong and Shin 2020); p̄ is not detached. 0 for m = 1."""
    log_mean = log_mean_probabilities(logits)
    return kl(log_mean.exp(), log_mean, logits).mean(0)


def entropy(logits: Logits) -> PerImage:
    """H(p̄) = −Σ_c p̄_c log max(p̄_c, 1e-20)."""
    log_mean = log_mean_probabilities(logits)
    return -(log_mean.exp() * log_mean.clamp(min=TINY)).sum(-1)


def double_softmax_entropy(logits: Logits) -> PerImage:
    """Entropy of softmax(p̄): probabilities taken for logits, as in the code behind DSRS's models. Almost constant."""
    log_twice = log_mean_probabilities(logits).exp().log_softmax(-1)
    return -(log_twice.exp() * log_twice).sum(-1)


def squared_difference(logits: Logits) -> PerImage:
    """‖p_2 − p_1‖² for two noisy copies."""
    first, second = logits.softmax(-1)
    return (second - first).square().sum(-1)


def macer_cross_entropy(logits: Logits, y: Int[torch.Tensor, " images"]) -> PerImage:
    """−log(p̄_y + 1e-10) (Zhai et al. 2020)."""
    mean = logits.softmax(-1).mean(0)
    return -(mean.gather(1, y[:, None])[:, 0] + 1e-10).log()


def macer_hinge(logits: Logits, y: Int[torch.Tensor, " images"], *, beta: float, gamma: float) -> PerImage:
    """γ − ξ, ξ = Φ⁻¹(q1) − Φ⁻¹(q2), where it is wanted, else 0 (Zhai et al. 2020), in float64.

    q1 ≥ q2 are the two largest entries of q = mean_i softmax(β·logits_i). Wanted are images that q classifies right and whose
    ξ is finite and at most γ. Times σ/2 this is the robust loss: the certified radius, pushed up to γσ/2.

    The choice is made before the expression is evaluated, with harmless numbers in the other places: a gradient through
    Φ⁻¹(0) would be NaN even when multiplied by 0.
    """
    q = (beta * logits.double()).softmax(-1).mean(0)
    (q1, q2), top = (part.unbind(1) for part in q.topk(2, dim=1))
    with torch.no_grad():
        margin = torch.special.ndtri(q1) - torch.special.ndtri(q2)
        wanted: Bool[torch.Tensor, " images"] = (top[0] == y) & margin.isfinite() & (margin <= gamma)
    margin = torch.special.ndtri(q1.where(wanted, 0.5)) - torch.special.ndtri(q2.where(wanted, 0.5))
    return (gamma - margin).where(wanted, 0.0)


def bottom_k(values: Float[torch.Tensor, "m images"], k: Int[torch.Tensor, " images"]) -> PerImage:
    """(1/m) Σ of the k smallest of each image's m values (Jeong et al. 2023, CAT-RS): divided by m, not by k."""
    order = torch.arange(len(values), device=values.device)[:, None]
    return values.sort(0).values.where(order < k, 0.0).sum(0) / len(values)


def smoothmix(
    start: Logits, mixed: Logits, y: Int[torch.Tensor, " images"], r: Float[torch.Tensor, "images 1"]
) -> Float[torch.Tensor, "m images"]:
    """1[argmax p̄ = y]·KL(t ‖ softmax(mixed_i)), t = (1−r)·p̄ + r/C (Jeong et al. 2021).

    p̄ is the mean prediction of `start`, not detached; r in (0, ½) says how far towards the adversary `mixed` was taken.
    """
    mean = log_mean_probabilities(start).exp()
    target = (1 - r) * mean + r / start.shape[-1]
    return kl(target, target.log(), mixed).where(mean.argmax(-1) == y, 0.0)


def selective_cross_entropy(logits: Logits, y: Int[torch.Tensor, " images"], *, warm_start: bool = True) -> PerImage:
    """(1/m) Σ_i 1[argmax logits_i = y]·CE(logits_i, y): of copies that still show their class (Jang et al. 2024, FT-CADIS).

    `warm_start`: of an image without such a copy, the copy with the smallest cross-entropy counts. Divided by m, not by the
    number of copies that count.
    """
    values, counts = cross_entropy(logits, y), right(logits, y)
    total = values.where(counts, 0.0).sum(0)
    if warm_start:
        total = total.where(counts.any(0), values.amin(0))
    return total / len(values)


def worst_divergence(start: Logits, attacked: Logits, *, detach: bool = False) -> PerImage:
    """max_i KL(p̄ ‖ softmax(attacked_i)), p̄ the mean prediction of `start` (Jang et al. 2024, FT-CADIS).

    p̄ takes a gradient unless `detach` says otherwise.
    """
    log_mean = log_mean_probabilities(start.detach() if detach else start)
    return kl(log_mean.exp(), log_mean, attacked).amax(0)
