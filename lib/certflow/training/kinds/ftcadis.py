"""FT-CADIS: confidence-aware fine-tuning of a classifier behind a frozen denoiser (Jang et al. 2024)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.training.behind import BehindDenoiser

if TYPE_CHECKING:
    import torch

    from certflow.training.assembly import Assembled, Given
    from certflow.training.batch import Batch

attacks, losses = lazy("certflow.training.attacks"), lazy("certflow.training.losses")
checks, finetuning = lazy("certflow.training.denoisers.checks"), lazy("certflow.training.finetuning")
adapters = lazy("certflow.models.adapters")


@register("ftcadis")
class FtCadis(BehindDenoiser):
    """Fine-tune a classifier on denoised noisy images: on the copies that still show their class, and on worst-case ones.

    The denoiser of `start` does not change. A denoised image may show another class: copies that the classifier gets wrong
    are assumed to, and are left out. If all copies of an image are right, an attack moves them, and the worst one counts, too.
    `lbd: 0` is the selection alone, with `selective: false` plain fine-tuning.
    """

    kind: Literal["ftcadis"] = "ftcadis"
    example: ClassVar[dict[str, Any]] = {"start": "diffusion", "noises": 2, "steps": 2}
    extras: ClassVar[tuple[str, ...]] = ("masked", "rescued", "loss_ce", "loss_adv")

    noises: int = Field(4, ge=1, le=1024)
    """Noise draws per image and step (the paper's M)."""
    lbd: float = Field(4.0, ge=0)
    """Weight of the worst-case term; 0: no attack."""
    eps: float = Field(0.125, ge=0)
    """How far the attack may move each denoised copy, l2, in units of the pixel range (the published code's 64/256 are in units
    of half of it)."""
    steps: int = Field(4, ge=1)
    """Steps of the attack (T), of 2ε/T each."""
    eps_double_epoch: int | None = Field(None, ge=0)
    """Epoch (from 0) from which ε is doubled; the published code calls it a warm-up."""
    selective: bool = True
    """Leave wrong copies out of the cross-entropy."""
    warm_start: Annotated[bool, OnlyWith("selective")] = True
    """If all copies of an image are wrong, the one with the smallest cross-entropy counts."""
    detach_target: bool = False
    """No gradient through the mean prediction in the worst-case term, which halves the memory; the published code has one."""
    attack_only_masked: bool = True
    """Attack only images whose worst-case term counts: cheaper, the same without batch normalisation; the host waits."""
    mode: Literal["full", "lora"] = "full"
    """`full`: every parameter of the classifier learns. `lora`: its head, and low-rank additions to queries and values of its
    attention (Hu et al. 2022)."""
    rank: Annotated[int, OnlyWith("mode", "lora")] = Field(4, ge=1)
    """`lora`: rank of the additions."""

    epochs: int = Field(30, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(5e-5, gt=0)
    schedule: Literal["step", "one_cycle", "cosine", "cosine_warmup"] = "cosine_warmup"
    update: Literal["sgd", "adam", "adamw"] = "adamw"
    weight_decay: float = Field(0.04, ge=0)
    clip: float | None = Field(0.3, gt=0)

    def without_effect(self) -> dict[str, str]:
        """Also what comes at an epoch that the run has not."""
        return {**super().without_effect(), **self.beyond(eps_double_epoch=self.eps_double_epoch)}

    @property
    def repeats(self) -> bool:
        """Choosing the masked images waits for the device."""
        return not (self.lbd > 0 and self.attack_only_masked)

    @property
    def cost(self) -> float:
        """Each denoised copy is learnt from, attacked, and learnt from again; the denoiser's forward pass counts a third."""
        return self.noises * (1 / 3 + (2 + 2 * self.steps / 3 if self.lbd > 0 else 1))

    def pairing_problems(self, study: Any, dataset: str, model: str, noise: str) -> list[str]:
        return list(checks.finetuning_problems(self, study, dataset, model, noise))

    def assemble(self, given: "Given") -> "Assembled":
        """The denoiser and the classifier of `start`; the classifier alone learns."""
        return finetuning.assemble(self, given)

    def finish(self, module: "torch.nn.Module") -> None:
        """Merges low-rank additions into the weights: the network is then stored as any other of its kind."""
        adapters.merge(module.classifier)

    @classmethod
    def load(
        cls, path: str | Path, spec: Mapping[str, Any], info: Any, /, **expected: Any
    ) -> tuple["torch.nn.Module", Any]:
        from certflow.denoising.stored import load_denoised

        return load_denoised(path, spec["parts"]["pair"], info, **expected)

    def epsilon(self, epoch: int) -> float:
        """The attack's radius in an epoch (from 0), in units of the pixel range."""
        doubled = self.eps_double_epoch is not None and epoch >= self.eps_double_epoch
        return self.eps * (2 if doubled else 1)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/B) Σ_b [L_ce,b + lbd·1[all copies right]·L_adv,b]; accuracy is the fraction of right denoised copies."""
        head, shown, logits = self._shown(batch)
        ce, adv = self._cross_entropy(logits, batch.y), self._worst_case(head, shown, logits)
        return ce + self.lbd * adv, self._told(logits, batch.y, ce, adv)

    def step(self, batch: "Batch") -> dict[str, "torch.Tensor"]:
        """With a target that takes no gradient, back-propagates L_ce before the attack: the same gradient in less memory."""
        if not self.detach_target:
            return super().step(batch)
        head, shown, logits = self._shown(batch)
        ce = self._cross_entropy(logits, batch.y)
        ce.backward()
        adv = self._worst_case(head, shown, logits)
        if adv.requires_grad:
            (self.lbd * adv).backward()
        return {**self._told(logits, batch.y, ce, adv), "objective": (ce + self.lbd * adv).detach()}

    def _shown(self, batch: "Batch") -> tuple["Batch", "torch.Tensor", "torch.Tensor"]:
        """The batch of the classifier alone, the denoised copies [m, images, ...] it is shown, and its logits."""
        shown, head = finetuning.denoised(batch, self.noises), replace(batch, model=batch.model.head)
        return head, shown, head.forward(shown)

    def _cross_entropy(self, logits: "torch.Tensor", y: "torch.Tensor") -> "torch.Tensor":
        if not self.selective:
            return losses.cross_entropy(logits, y).mean()
        return losses.selective_cross_entropy(logits, y, warm_start=self.warm_start).mean()

    def _worst_case(self, head: "Batch", shown: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
        """(1/B) Σ_b 1[all right]·max_i KL(ŷ_b ‖ softmax f(x_b + η*_{i,b})); η* starts at what is left of the noise."""
        images, mask = len(head.y), losses.right(logits, head.y).all(0)
        if self.lbd == 0:
            return head.x.new_zeros(())
        if self.attack_only_masked:
            (kept,) = mask.nonzero(as_tuple=True)
            if len(kept) == 0:
                return head.x.new_zeros(())
            head, shown, logits, mask = head.select(kept), shown[:, kept], logits[:, kept], mask[kept]
        target = losses.log_mean_probabilities(logits.detach()).exp()
        settings = {"epsilon": self.epsilon(head.epoch), "steps": self.steps}
        worst = head.forward(head.x + attacks.kl_attack(head, shown - head.x, target, **settings))
        return losses.worst_divergence(logits, worst, detach=self.detach_target).where(mask, 0.0).sum() / images

    def _told(self, logits: "torch.Tensor", y: "torch.Tensor", ce: "torch.Tensor", adv: "torch.Tensor"):
        """What the log says of a mini-batch."""
        right = losses.right(logits, y)
        return {
            "accuracy": losses.accuracy(logits, y),
            "masked": right.all(0).double().mean(),
            "rescued": (~right.any(0)).double().mean(),
            "loss_ce": ce.detach(),
            "loss_adv": adv.detach(),
        }
