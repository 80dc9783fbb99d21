"""Denoised smoothing: a denoiser before a classifier that stays as it is (Salman et al. 2020; Carlini et al. 2023)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.kinds.seeds import TrainingSeed
from certflow.kinds.spec import Record
from certflow.training.base import MethodSpec, Reference
from certflow.training.recipe import Optimiser
from certflow.training.schedule import step_decay

if TYPE_CHECKING:
    import torch

    from certflow.training.assembly import Assembled, Given
    from certflow.training.batch import Batch

objectives = lazy("certflow.training.denoisers.objectives")
checks = lazy("certflow.training.denoisers.checks")
composing = lazy("certflow.training.composing")


class Classifier(Record):
    """A classifier that another method trained or imported on the same dataset: the names of its entries."""

    method: str
    """Entry of `methods` that makes the classifier."""
    noise: str
    """Noise entry that it was trained under; one of kind `none` for a classifier of clean images."""
    model: str | None = None
    """Model entry; the experiment's own unless given."""
    seed: TrainingSeed | None = None
    """The seed it was trained with; that of the run unless given."""

    def reference(self, model: str, seed: int) -> Reference:
        """The names spelled out, for a run with this model and seed."""
        return Reference(self.model or model, self.method, self.noise, seed if self.seed is None else self.seed)


@register("denoised")
class Denoised(MethodSpec):
    """Base classifier f(D(y)): the classifier f is frozen, the denoiser D is trained under the run's noise, or taken as it is.

    A D that takes a noise level is fixed to the noise entry's sigma. With an `objective`, D is trained at that noise
    level, starting from the weights of its own entry or of another denoised method, else from fresh ones. The defaults of
    training are those of Salman et al. (Adam, 1e-3, a tenth every 30 of 90 epochs).
    """

    kind: Literal["denoised"] = "denoised"
    example: ClassVar[dict[str, Any]] = {
        "classifier": {"method": "clean", "noise": "none"},
        "denoiser": "dncnn",
        "objective": "stability",
    }
    splits: ClassVar[bool] = False
    composed: ClassVar[bool] = True

    denoiser: str | None = None
    """Entry of `denoisers`; null: the noisy image itself is classified, the row to compare with."""
    classifier: Classifier | None = None
    """Null: the model entry's own pretrained weights (kinds `timm` and `hf_image`), off the shelf."""
    objective: Literal["mse", "l1", "stability", "classification"] | None = None
    """`mse`, `l1`: difference from the clean image. `stability`: cross-entropy with the class that f gives the clean image.
    `classification`: with the true label. Null: the denoiser is used with the weights it has."""
    init_from: str | None = None
    """Another method of this kind whose denoiser, trained under the same noise, is where the training starts: an `mse` one,
    followed by `stability` here, is the papers' Stab+MSE."""
    surrogates: list[Classifier] = []
    """Train against these classifiers, batch i against number i modulo their count, instead of the classifier itself. They see
    the denoised image at the size of the data."""
    access: Literal["white_box", "query"] = "white_box"
    """`query`: the classifier gives no gradients; surrogates are needed where the objective takes any."""
    clamp: bool = False
    """Limit the denoised image to [0,1] before it is classified. The published pipelines with trained denoisers do not."""
    resize: int | None = Field(None, ge=8)
    """Side, in pixels, of the image that the classifier takes (bicubic); null: that of the data."""

    input_norm: Annotated[Literal["auto", "half"], OnlyWith("classifier", None)] = "auto"
    """How a classifier off the shelf normalises: `auto` as it was pretrained; `half` from [0,1] to [-1,1] in any case."""

    epochs: int = Field(90, ge=1)
    lr: float = Field(1e-3, gt=0)
    lr_step: int = Field(30, ge=1)
    update: Literal["sgd", "adam", "adamw", "adam_then_sgd"] = "adam"
    """As in every method; `adam_then_sgd` changes from the one to the other at `switch_epoch`."""
    momentum: Annotated[float, OnlyWith("update", "sgd", "adam_then_sgd")] = Field(0.9, ge=0, lt=1)
    switch_epoch: Annotated[int, OnlyWith("update", "adam_then_sgd")] = Field(50, ge=1)
    """`adam_then_sgd`: the first epoch of SGD, at the full rate again, with its own drops."""

    @classmethod
    def learning(cls, own: Mapping[str, Any]) -> Literal["denoiser"] | None:
        return None if own.get("objective") is None else "denoiser"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        classifies = self.objective in ("stability", "classification")
        if self.denoiser is None and (self.objective is not None or self.init_from is not None):
            raise ValueError("without a denoiser there is nothing to train: leave out objective and init_from")
        if self.init_from is not None and self.objective is None:
            raise ValueError("init_from is where a training starts; give an objective")
        if self.surrogates and not classifies:
            raise ValueError("surrogates are for the objectives stability and classification")
        if classifies and self.access == "query" and not self.surrogates:
            raise ValueError(
                f"objective {self.objective} takes gradients of a classifier; with access query list surrogates"
            )
        if self.resize is not None and self.classifier is not None:
            raise ValueError(
                "resize: a classifier that another method makes takes the images as its model entry says; set resize there"
            )
        if self.update == "adam_then_sgd" and self.schedule != "step":
            raise ValueError(
                f"update adam_then_sgd begins the drops of schedule step anew; schedule {self.schedule} has none"
            )
        if self.update == "adam_then_sgd" and self.switch_epoch >= self.epochs:
            raise ValueError(
                f"switch_epoch must be below epochs, got switch_epoch={self.switch_epoch} and epochs={self.epochs}"
            )
        if self.start_from is not None:
            raise ValueError("start_from: the classifier is not trained; name the start of the denoiser as init_from")
        if self.noises != 1:
            raise ValueError("noises: a denoiser sees one draw per image and step")
        return self

    @property
    def repeats(self) -> bool:
        """Surrogates take turns."""
        return not self.surrogates

    def references(self, model: str, noise: str, seed: int) -> dict[str, Reference]:
        found = {}
        if self.classifier is not None:
            found["classifier"] = self.classifier.reference(model, seed)
        if self.init_from is not None:
            found["init"] = Reference(model, self.init_from, noise, seed)
        for number, surrogate in enumerate(self.surrogates):
            found[f"surrogate{number:02d}"] = surrogate.reference(model, seed)
        return found

    def own_denoiser(self) -> str | None:
        return self.denoiser

    def assemble(self, given: "Given") -> "Assembled":
        """The denoiser alone learns."""
        return composing.compose(self, given)

    def examine(self, module: Any, given: "Given", model: str | Path) -> dict[str, Any]:
        return composing.quality(module, given, model)

    def pairing_problems(self, study: Any, dataset: str, model: str, noise: str) -> list[str]:
        return list(checks.problems(self, study, dataset, model, noise))

    @classmethod
    def load(
        cls, path: str | Path, spec: Mapping[str, Any], info: Any, /, **expected: Any
    ) -> tuple["torch.nn.Module", Any]:
        from certflow.denoising.stored import load_denoised

        return load_denoised(path, spec, info, **expected)

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        """As in every method; after a change to SGD the drops are counted from there."""
        if self.update == "adam_then_sgd" and epoch >= self.switch_epoch:
            epoch -= self.switch_epoch
            return step_decay(self.lr, epoch, every=self.lr_step, gamma=self.lr_gamma, offset=self.lr_drop_offset)
        return super().learning_rate(epoch, step, steps)

    def optimiser(self, parameters: Any, steps: int) -> Optimiser:
        """As in every method, and both in turn."""
        from certflow.training.fast.adam import AdamThenSgd

        if self.update == "adam_then_sgd":
            return AdamThenSgd(parameters, switch=self.switch_epoch * steps, momentum=self.momentum)
        return super().optimiser(parameters, steps)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        return objectives.loss(self.objective, batch)
