"""CAT-RS: confidence-aware training of smoothed classifiers (Jeong, Kim and Shin 2023)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.registry import lazy, register
from certflow.kinds.spec import Record
from certflow.noise.base import NoiseSpec
from certflow.training.base import ReadsPredictions

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

attacks, losses = lazy("certflow.training.attacks"), lazy("certflow.training.losses")


class LrExtraDrop(Record):
    """A further division of the learning rate by ten, `schedule: step` only."""

    epoch: int = Field(ge=0)
    """When it comes, from 0."""
    persistent: bool = False
    """Whether it lasts; false: that one epoch, which is what the published code really does."""


@register("catrs")
class CatRs(ReadsPredictions):
    """Minimise the loss of an image's easiest copies, as many as it can get right; if these are all, also of worst-case noises.

    Learns from smoothed predictions p̂, in the papers those of a Gaussian model at noise level 0.25. Loader batches are split.
    """

    kind: Literal["catrs"] = "catrs"
    needs: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})
    example: ClassVar[dict[str, Any]] = {"noises": 2, "steps": 2}

    noises: int = Field(4, ge=1, le=1024)
    """Noise draws per image and step (the paper's M)."""
    lbd: float = Field(1.0, ge=0)
    """Weight of the worst-case term; 0: no attack."""
    eps256: float = Field(256.0, ge=0)
    """How far the attack may move each noise, l2, in 1/256 of the pixel range: 256 is a radius of 1."""
    steps: int = Field(4, ge=1)
    """Steps of the attack (T), of 2ε/T each."""
    confidence_mask: bool = False
    """Take an image's confidence from p̂ instead of the current noisy copies, which begin at chance."""
    attack_only_masked: bool = False
    """Attack only images whose worst-case term counts: cheaper, the same without batch normalisation; the host waits."""
    eps_double_epoch: int | None = Field(None, ge=0)
    """Epoch (from 0) from which ε is doubled; the published code calls it a warm-up."""
    lr_extra_drop: LrExtraDrop | None = None
    """One more drop of the learning rate, at an epoch of its own; null: none."""

    @model_validator(mode="after")
    def _drops(self) -> Self:
        if self.lr_extra_drop is not None and self.schedule != "step":
            raise ValueError(f"lr_extra_drop belongs to schedule step; schedule {self.schedule} sets every step's rate")
        return self

    def without_effect(self) -> dict[str, str]:
        """Also what comes at an epoch that the run has not."""
        drop = None if self.lr_extra_drop is None else self.lr_extra_drop.epoch
        return {**super().without_effect(), **self.beyond(eps_double_epoch=self.eps_double_epoch, lr_extra_drop=drop)}

    def problems(self, noise: NoiseSpec) -> list[str]:
        if noise.sigma == 0 and self.lbd > 0:
            return [
                f"the worst-case noises of catrs are as large as the noise, and noise of kind {noise.kind} is 0; train under "
                "another noise, or set lbd to 0"
            ]
        return []

    @property
    def repeats(self) -> bool:
        """Choosing the masked images waits for the device."""
        return not (self.lbd > 0 and self.attack_only_masked)

    @property
    def cost(self) -> float:
        """Each noisy copy is learnt from, attacked, and learnt from again."""
        return self.noises * (2 + 2 * self.steps / 3 if self.lbd > 0 else 1)

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        lr, drop = super().learning_rate(epoch, step, steps), self.lr_extra_drop
        dropped = drop is not None and (epoch == drop.epoch or (drop.persistent and epoch > drop.epoch))
        return 0.1 * lr if dropped else lr

    def epsilon(self, epoch: int) -> float:
        """The attack's radius in an epoch (from 0), [0,1]-pixel units."""
        doubled = self.eps_double_epoch is not None and epoch >= self.eps_double_epoch
        return self.eps256 / 256 * (2 if doubled else 1)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [L_low,b + lbd·1[K_b = M]·L_high,b]; logs the first term."""
        noise = batch.noise(self.noises)
        low, mask, logged = self._low(batch, noise)
        return low + self._high(batch, noise, mask), logged

    def step(self, batch: "Batch") -> dict[str, "torch.Tensor"]:
        """Back-propagates L_low before the attack, which does not depend on it: the same gradient in less memory."""
        noise = batch.noise(self.noises)
        low, mask, logged = self._low(batch, noise)
        low.backward()
        high = self._high(batch, noise, mask)
        if high.requires_grad:
            high.backward()
        return {**logged, "objective": low.detach() + high.detach()}

    def _low(self, batch: "Batch", noise: "torch.Tensor"):
        """Mean of L_low,b = (1/M) Σ of the K_b smallest cross-entropies; the mask 1[K_b = M]; what to log.

        K_b ~ max(1, Binomial(M, ŵ_b)) from M coins per image; ŵ_b is the fraction of noisy copies that are right, or p̂_{b,y}.
        """
        logits = batch.forward(batch.x + noise)
        if self.confidence_mask:
            confidence = batch.table("predictions").gather(1, batch.y[:, None])
        else:
            confidence = losses.right(logits, batch.y).float().mean(0)[:, None]
        k = (batch.uniform(0, self.noises) < confidence).sum(1).clamp(min=1)
        low = losses.bottom_k(losses.cross_entropy(logits, batch.y), k).mean()
        return low, k == self.noises, {"loss": low.detach(), "accuracy": losses.accuracy(logits, batch.y)}

    def _high(self, batch: "Batch", noise: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """(lbd/B) Σ_b mask_b·L_high,b, L_high,b = max_i KL(p̂_b ‖ softmax f(x_b + δ*_{i,b}))."""
        images = len(batch.y)
        if self.lbd == 0:
            return batch.x.new_zeros(())
        if self.attack_only_masked:
            (kept,) = mask.nonzero(as_tuple=True)
            if len(kept) == 0:
                return batch.x.new_zeros(())
            batch, noise, mask = batch.select(kept), noise[:, kept], mask[kept]
        target = batch.table("predictions")
        worst = attacks.kl_attack(batch, noise, target, epsilon=self.epsilon(batch.epoch), steps=self.steps)
        high = losses.kl_of_data(target, batch.forward(batch.x + worst)).amax(0)
        return self.lbd * high.where(mask, 0.0).sum() / images
