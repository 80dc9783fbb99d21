"""Methods that train a classifier behind the denoiser of another method."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from certflow.kinds.registry import lazy
from certflow.training.base import MethodSpec, Reference

if TYPE_CHECKING:
    import torch

    from certflow.training.assembly import Given

composing = lazy("certflow.training.composing")


class BehindDenoiser(MethodSpec):
    """Base of methods whose model is the denoiser of the method `start` before a classifier that is trained there."""

    splits: ClassVar[bool] = False
    composed: ClassVar[bool] = True
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels"})

    start: str = Field(min_length=1)
    """Entry of methods, of kind `denoised`, made under the same noise: what stands before the classifier."""

    @model_validator(mode="after")
    def _no_checkpoint(self) -> Self:
        if self.start_from is not None:
            raise ValueError(
                "start_from: the model starts from that of `start`; give the checkpoint to the method that brings it"
            )
        return self

    def references(self, model: str, noise: str, seed: int) -> dict[str, Reference]:
        return {"pair": Reference(model, self.start, noise, seed)}

    def denoiser_entry(self, study: Any, dataset: str, noise: str) -> str | None:
        return study.denoiser_of(dataset, self.start, noise)

    def examine(self, module: "torch.nn.Module", given: "Given", model: str | Path) -> dict[str, Any]:
        return composing.quality(module, given, model)
