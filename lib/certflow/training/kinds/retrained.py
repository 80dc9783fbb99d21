"""A classifier trained from scratch behind a denoiser (Levine and Feizi 2021, appendix)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.training.behind import BehindDenoiser
from certflow.training.kinds.gaussian import Gaussian

if TYPE_CHECKING:
    import torch

    from certflow.training.assembly import Assembled, Given

checks, finetuning = lazy("certflow.training.denoisers.checks"), lazy("certflow.training.finetuning")


@register("retrained")
class Retrained(BehindDenoiser, Gaussian):
    """Train a new classifier as `gaussian` does, behind the denoiser of `start` and in place of the classifier there.

    The classifier is a network of the experiment's model with fresh weights; that of `start` may be another network. As in the
    published code the denoiser keeps learning, at the classifier's learning rate, unless `frozen`.
    """

    kind: Literal["retrained"] = "retrained"
    example: ClassVar[dict[str, Any]] = {"start": "mse"}

    frozen: bool = False
    """Do not change the denoiser."""

    def pairing_problems(self, study: Any, dataset: str, model: str, noise: str) -> list[str]:
        return list(checks.retraining_problems(self, study, dataset, noise))

    def assemble(self, given: "Given") -> "Assembled":
        """The denoiser of `start` before the experiment's network with fresh weights."""
        return finetuning.assemble_anew(self, given)

    @classmethod
    def load(
        cls, path: str | Path, spec: Mapping[str, Any], info: Any, /, **expected: Any
    ) -> tuple["torch.nn.Module", Any]:
        from certflow.denoising.stored import load_denoised

        pair = spec["parts"]["pair"]
        parts = {role: part for role, part in pair["parts"].items() if role != "classifier"}
        return load_denoised(path, {**pair, "model": spec["model"], "parts": parts}, info, **expected)
