"""SmoothMix: training towards uncertainty along adversarial directions (Jeong et al. 2021)."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks, losses = lazy("certflow.training.attacks"), lazy("certflow.training.losses")


@register("smoothmix")
class SmoothMix(MethodSpec):
    """Minimise the cross-entropy at x0, plus a divergence at mixtures of x0 and an adversarial example far out.

    x0 is the image itself, or with `mix_step` an early iterate of the attack. Loader batches are split.
    """

    kind: Literal["smoothmix"] = "smoothmix"
    needs: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})
    example: ClassVar[dict[str, Any]] = {"steps": 2, "mix_step": 1, "alpha": 0.5, "warmup": 2}

    noises: int = Field(2, ge=1, le=1024)
    """Noise draws per image and step, shared by the attack and both terms (the field's m)."""
    alpha: float = Field(1.0, ge=0)
    """l2 length of a step of the attack, [0,1]-pixel units."""
    steps: int = Field(8, ge=1)
    """Steps of the attack (T); nothing but [0,1] bounds it unless `maxnorm` does."""
    eta: float = Field(1.0, ge=0)
    """Weight of the mixture term; grows linearly over the warm-up. 0: no mixtures, and only the attack that x0 needs."""
    mix_step: int = Field(0, ge=0)
    """Which iterate of the attack is x0: 0, or `steps` and more, the image itself; 1 the one-step adversary, and so on."""
    warmup: int = Field(10, ge=1)
    """Epochs over which the mixture term and the distance of x0 from the image grow linearly; 1: none."""
    maxnorm: float | None = Field(None, ge=0)
    """Radius around the image that the attack may not leave; null: none."""
    maxnorm_start: Annotated[float | None, OnlyWith("mix_step")] = Field(None, ge=0)
    """Radius around the image for x0 after the warm-up; null: alpha·mix_step."""

    def without_effect(self) -> dict[str, str]:
        """Also the radius around an image that x0 is not apart from."""
        away = (
            {} if self.mix_step < self.steps else {"maxnorm_start": "has no effect where mix_step is `steps` or more"}
        )
        return {**away, **super().without_effect()}

    @property
    def cost(self) -> float:
        """Each noisy copy is attacked; two kinds of images are learnt from, the mixture and where it starts."""
        return self.noises * ((2 if self.eta > 0 else 1) + 2 * self._ascent / 3)

    @property
    def _ascent(self) -> int:
        """Steps of the attack that are taken: without a mixture x0 alone needs some, if it is not the image itself."""
        if self.eta > 0:
            return self.steps
        return self.mix_step + 1 if 0 < self.mix_step < self.steps else 0

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """CE at x0 + eta·w·(1/mB) Σ_{i,b} 1[p̄_b is right]·KL(t_b ‖ softmax f(x_mix,b + δ_{i,b})).

        r_b ~ U(0, ½) per image: x_mix = (1−r)·x0 + r·x_adv and t = (1−r)·p̄ + r/C, p̄ being the mean prediction at x0, not
        detached; w = min(1, (epoch + 1)/warmup).
        """
        noise, share = batch.noise(self.noises), min(1.0, (batch.epoch + 1) / self.warmup)
        start, adversary = self.ends(batch, noise, share)
        logits = batch.forward(start + noise)
        label, logged = losses.cross_entropy(logits, batch.y).mean(), {"accuracy": losses.accuracy(logits, batch.y)}
        if self.eta == 0:
            return label, logged
        r = batch.uniform(0) / 2
        mixed = start + r[..., None, None] * (adversary - start)
        mixture = losses.smoothmix(logits, batch.forward(mixed + noise), batch.y, r).mean()
        return label + self.eta * share * mixture, logged

    def ends(self, batch: "Batch", noise: "torch.Tensor", share: float) -> tuple["torch.Tensor", "torch.Tensor"]:
        """x0 and x_adv; `share` of the warm-up is over."""
        radius = self.alpha * self.mix_step if self.maxnorm_start is None else self.maxnorm_start
        return attacks.smoothmix_ascent(
            batch,
            noise,
            alpha=self.alpha,
            steps=self._ascent,
            mix_step=self.mix_step,
            radius=self.maxnorm,
            start_radius=share * radius,
        )
