"""How a model is trained, whatever its loss: batches, optimiser, learning rates."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from certflow.errors import ConfigError
from certflow.kinds.effect import OnlyWith
from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.training.schedule import cosine, cosine_warmup, one_cycle, step_decay

if TYPE_CHECKING:
    import torch


class Optimiser(Protocol):
    """What the training loop asks of an optimiser (see `certflow.training.fast.sgd`)."""

    def clear(self) -> None: ...

    def step(self, lr: float, weight_decay: float = 0.0) -> None: ...

    def state(self) -> dict[str, "torch.Tensor"]: ...

    def restore(self, state: dict[str, "torch.Tensor"]) -> None: ...


def longest_warmup(units: int) -> int:
    """The longest warm-up of noise that a run of so many epochs or loader batches comes out of; 0: none.

    A warm-up of length w reaches into unit w, counted from 0 (`certflow.noise.warmup`), which therefore must not be the last.
    """
    return max(units - 2, 0)


class Recipe(Spec):
    """The settings that all methods share; the defaults are what the field's CIFAR-10 recipes have in common."""

    splits: ClassVar[bool] = True
    """Whether a loader batch of B images becomes `noises` consecutive mini-batches with one optimiser step each."""
    parallel: ClassVar[bool] = True
    """Whether the objective is a mean over images, so that the gradients of shares of a mini-batch add up to its gradient: what
    several devices and `micro_batch` need."""
    epochs: int = Field(150, ge=1)
    """Passes over the training images."""
    batch: int = Field(256, ge=1)
    """Images per loader batch, those of all devices and micro-batches together."""
    micro_batch: int | None = Field(None, ge=1)
    """Images that pass through the network at one time on each device, for networks that do not fit otherwise: the gradients of
    the parts are added up before the step. Batch normalisation and dropout see each part by itself. Null: all of them."""
    lr: float = Field(0.1, gt=0)
    """The largest learning rate: that of the first epoch with `step` and `cosine`, that of the peak with the others."""
    schedule: Literal["step", "one_cycle", "cosine", "cosine_warmup"] = "step"
    """`step`: multiply by lr_gamma every lr_step epochs. `one_cycle`: linear up over 20 % of the run, linear down to 0.
    `cosine`: half a wave from lr down to 0, by whole epochs. `cosine_warmup`: linear up over `warmup_epochs`, then half a wave
    down to `min_lr`, step by step."""
    warmup_epochs: Annotated[int, OnlyWith("schedule", "cosine_warmup")] = Field(0, ge=0)
    """`cosine_warmup`: epochs over which the learning rate rises from 0."""
    min_lr: Annotated[float, OnlyWith("schedule", "cosine_warmup")] = Field(0.0, ge=0)
    """`cosine_warmup`: the learning rate at the end of the run."""
    lr_step: Annotated[int, OnlyWith("schedule", "step")] = Field(50, ge=1)
    """`step`: epochs from one drop of the learning rate to the next."""
    lr_gamma: Annotated[float, OnlyWith("schedule", "step")] = Field(0.1, gt=0, le=1)
    """`step`: what a drop multiplies the learning rate by."""
    lr_drop_offset: Annotated[Literal[0, 1], OnlyWith("schedule", "step")] = 1
    """1: every drop comes one epoch late, as in the code of CAT-RS, SmoothMix, DSRS and denoised smoothing; 0: on time, as in
    Cohen's."""
    update: Literal["sgd", "adam", "adamw"] = "sgd"
    """How a gradient changes the parameters. `sgd`: with momentum. `adam`: Adam, weight decay as part of the gradient. `adamw`:
    Adam, weight decay apart from the gradient and only on weights, not on biases, normalisations, tokens and positions."""
    momentum: Annotated[float, OnlyWith("update", "sgd")] = Field(0.9, ge=0, lt=1)
    """`sgd`: share of the previous update that the next one keeps."""
    nesterov: Annotated[bool, OnlyWith("update", "sgd")] = False
    """`sgd`: Nesterov momentum."""
    layer_decay: Annotated[float, OnlyWith("update", "adam", "adamw")] = Field(1.0, gt=0, le=1)
    """`adam`, `adamw`: each layer learns this much slower than the one above it; the head learns at the full rate."""
    weight_decay: float = Field(1e-4, ge=0)
    """With `sgd` and `adam` on all parameters, those of batch normalisation included, as in the field's code."""
    weight_decay_end: float | None = Field(None, ge=0)
    """Weight decay at the end of the run, approached from `weight_decay` along half a wave, step by step. Null: no change."""
    clip: float | None = Field(None, gt=0)
    """Largest l2 norm of the gradient of each parameter tensor; a longer one is scaled to it. Null: no limit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the forward pass; losses stay float32."""
    native: bool = False
    """On a CPU, compute 3×3 and 5×5 convolutions and their gradients by this project's C code, which needs a C compiler: fewer
    products, up to three times as fast, and rounded otherwise. On a GPU it has no effect."""
    augmentation: Literal["dataset", "none"] = "dataset"
    """`dataset`: random views of the training images as usual for the dataset; `none`: the images as they are."""
    noises: int = Field(1, ge=1, le=1024)
    """Noise draws per image and step (the field's m). With `splits`, each loader batch is cut into this many mini-batches."""
    noise_warmup: int = Field(0, ge=0)
    """Length of the warm-up of noise that has one: generalised Gaussian noise then starts as the Gaussian (0: no warm-up)."""
    noise_warmup_unit: Annotated[Literal["epoch", "step"], OnlyWith("noise_warmup")] = "epoch"
    """What `noise_warmup` counts; `step`: loader batches since the beginning of the run."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.splits and self.batch < self.noises:
            raise ValueError(f"batch must be at least noises, got batch={self.batch} and noises={self.noises}")
        if self.micro_batch is not None and self.micro_batch > self.batch:
            raise ValueError(
                f"micro_batch must be at most batch, got micro_batch={self.micro_batch} and batch={self.batch}"
            )
        if self.micro_batch is not None and not self.parallel:
            raise ValueError(f"micro_batch: {self.kind} needs its batches whole")
        if self.native and self.precision != "float32":
            raise ValueError(f"native: is for float32, got precision={self.precision}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got momentum=0")
        self._check_schedule()
        if self.noise_warmup_unit == "epoch" and self.noise_warmup > longest_warmup(self.epochs):
            raise ValueError(
                f"noise_warmup must end before the run's last epoch, got noise_warmup={self.noise_warmup} and "
                f"epochs={self.epochs}; at most {longest_warmup(self.epochs)}"
            )
        return self

    def _check_schedule(self) -> None:
        if self.schedule != "cosine_warmup":
            return
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs, got warmup_epochs={self.warmup_epochs} and epochs={self.epochs}"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must be at most lr, got min_lr={self.min_lr:g} and lr={self.lr:g}")

    def beyond(self, **epochs: int | None) -> dict[str, str]:
        """Setting → why it has no effect, of those that name an epoch (from 0) which the run does not come to."""
        last = f"the last epoch is {self.epochs - 1}"
        return {
            name: f"has no effect at epoch {epoch}: {last}"
            for name, epoch in epochs.items()
            if epoch is not None and epoch >= self.epochs
        }

    def size_problems(self, images: int) -> list[str]:
        """What a run on this many training images would never come to (empty: nothing): the noise after its warm-up."""
        batches = self.epochs * math.ceil(images / self.batch)
        if self.noise_warmup_unit == "epoch" or self.noise_warmup <= longest_warmup(batches):
            return []
        return [
            f"noise_warmup must end before the run's last loader batch, got noise_warmup={self.noise_warmup} and {batches} "
            f"loader batches ({images} images, epochs={self.epochs}, batch={self.batch}); at most {longest_warmup(batches)}"
        ]

    def law(self, noise: NoiseSpec, epoch: int, number: int, batches: int) -> NoiseSpec:
        """The noise of loader batch `number` of `batches` in epoch `epoch` (both from 0); in a warm-up not yet `noise`."""
        counter = epoch if self.noise_warmup_unit == "epoch" else epoch * batches + number
        return noise.warmed(counter, self.noise_warmup)

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of optimiser step `step` (0-based) of `steps` in epoch `epoch` (0-based)."""
        if self.schedule == "one_cycle":
            return one_cycle(self.lr, epoch * steps + step, self.epochs * steps)
        if self.schedule == "cosine":
            return cosine(self.lr, 0.0, epoch / self.epochs)
        if self.schedule == "cosine_warmup":
            whole = epoch + step / steps
            return cosine_warmup(self.lr, whole, self.epochs, warmup=self.warmup_epochs, least=self.min_lr)
        return step_decay(self.lr, epoch, every=self.lr_step, gamma=self.lr_gamma, offset=self.lr_drop_offset)

    def decay(self, epoch: int, step: int, steps: int) -> float:
        """The weight decay of optimiser step `step` (0-based) of `steps` in epoch `epoch` (0-based)."""
        if self.weight_decay_end is None:
            return self.weight_decay
        return cosine(self.weight_decay, self.weight_decay_end, (epoch + step / steps) / self.epochs)

    def optimiser(self, parameters: Iterable[tuple[str, "torch.nn.Parameter"]], steps: int) -> Optimiser:
        """What updates the parameters; `steps` is the number of its steps per epoch."""
        from certflow.training.fast.adam import Adam
        from certflow.training.fast.sgd import Sgd
        from certflow.training.layerwise import decays, rates

        named = dict(parameters)
        if self.update == "sgd":
            return Sgd(named.items(), momentum=self.momentum, nesterov=self.nesterov)
        decoupled, of_layers = self.update == "adamw", rates(named, self.layer_decay)
        if self.layer_decay < 1 and set(of_layers.values()) <= {1.0}:
            raise ConfigError(
                ["layer_decay: has no effect on a network whose parameters' names tell no layers; leave it out"]
            )
        undecayed = [name for name, parameter in named.items() if decoupled and not decays(name, parameter)]
        return Adam(named.items(), decoupled=decoupled, rates=of_layers, undecayed=undecayed)
