"""Training a denoiser by itself, over a range of noise levels, with no classifier."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from certflow.kinds.registry import lazy
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch
    from certflow.training.denoisers.restoration import Restorer

restoration = lazy("certflow.training.denoisers.restoration")


class RangeTraining(MethodSpec):
    """Every image of a batch gets its own noise level from `sigma_range`, and the network is given it, if it takes one.

    The defaults are those of DRUNet where they mean something here (Zhang et al. 2021): AdamW without weight decay at 1e-4,
    the L1 loss.
    """

    kind: Literal["range"] = "range"
    splits: ClassVar[bool] = False
    parallel: ClassVar[bool] = False  # its averaged weights and its evaluation belong to one process

    sigma_range: tuple[float, float] = (0.0, 1.1)
    """Lowest and highest noise level, [0,1]-pixel units."""
    spacing: Literal["uniform", "log"] = "uniform"
    """How levels are spread over the range: evenly, or evenly in their logarithm (the range must not start at 0 then)."""
    criterion: Literal["l1", "mse"] = "l1"
    """Mean absolute or mean squared difference from the clean image; a diffusion network always compares noise, squared."""
    average: float = Field(0.0, ge=0, lt=1)
    """Keep an exponential average of the weights with at most this decay, and store it as the result; 0: do not."""

    epochs: int = Field(30, ge=1)
    batch: int = Field(64, ge=1)
    lr: float = Field(1e-4, gt=0)
    update: Literal["sgd", "adam", "adamw"] = "adamw"
    lr_step: int = Field(30, ge=1)
    lr_drop_offset: Literal[0, 1] = 0
    weight_decay: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _range(self) -> Self:
        low, high = self.sigma_range
        if not 0 <= low < high:
            raise ValueError(f"sigma_range must rise from 0 or more, got {[low, high]}")
        if self.spacing == "log" and low == 0:
            raise ValueError("spacing log: sigma_range must start above 0")
        if self.start_from is not None or self.noise_warmup:
            raise ValueError("start_from and noise_warmup are for classifiers")
        if self.noises != 1:
            raise ValueError("noises: every image gets one noise draw per step here")
        return self

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        sigma = restoration.levels(batch.uniform(0)[:, 0], self.sigma_range, self.spacing)
        return _restorer(batch).loss(batch.x, batch.normal(1), sigma, self.criterion, self.precision), {}

    def step(self, batch: "Batch") -> dict[str, "torch.Tensor"]:
        _restorer(batch).remember(self.average)
        return super().step(batch)

    def evaluate(self, model, batches, noise, *, seed: int, epoch: int, ranks):
        """Mean squared error per pixel on test images, at levels spread over the range; it is logged as the test loss."""
        return restoration.evaluate(model, batches, self, seed=seed)


def _restorer(batch: "Batch") -> "Restorer":
    """The model of a batch, which `RangeTraining` trains alone."""
    return cast("Restorer", batch.model)
