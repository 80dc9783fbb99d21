"""What every training method states, and the one function it has to supply: its loss on a batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.training.places import checked_pattern, fill
from certflow.training.schedule import cosine, cosine_warmup, one_cycle, step_decay

if TYPE_CHECKING:
    import torch

    from certflow.config import Study
    from certflow.data.base import DataInfo
    from certflow.files.artefact import Provenance
    from certflow.noise.base import NoiseSpec
    from certflow.training.batch import Batch
    from certflow.training.evaluation import Evaluation
    from certflow.training.ranks import Ranks


@dataclass(frozen=True)
class Reference:
    """Names of the entries that another model of the same dataset is trained from: the wildcards of its path."""

    model: str
    method: str
    noise: str
    seed: int


class Optimiser(Protocol):
    """What the training loop asks of an optimiser (see `certflow.training.sgd`)."""

    def clear(self) -> None: ...

    def step(self, lr: float, weight_decay: float = 0.0) -> None: ...

    def state(self) -> dict[str, "torch.Tensor"]: ...

    def restore(self, state: dict[str, "torch.Tensor"]) -> None: ...


class MethodSpec(Spec):
    """Base of all training methods: the common optimiser recipe, and `loss` to be supplied by each kind.

    Defaults are those the field's CIFAR-10 recipes share; `preset: paper` in the configuration overlays the row that the
    papers state for the dataset and noise level at hand (see `presets/`), and keys written by the user win over both.
    """

    family: ClassVar[str] = "method"
    unhashed: ClassVar[frozenset[str]] = frozenset({"start_from"})
    needs: ClassVar[frozenset[str]] = frozenset()
    """What the noise must offer (`NoiseSpec.offers`) for this method to train under it."""
    trains: ClassVar[bool] = True
    """False for kinds that bring a finished model instead."""

    epochs: int = Field(150, ge=1)
    """Passes over the training images."""
    batch: int = Field(256, ge=1)
    """Images per loader batch, on however many devices and in however many parts it is worked on."""
    micro_batch: int | None = Field(None, ge=1)
    """Images that pass through the network at one time on each device, for networks that do not fit otherwise: the gradients of
    the parts are added up before the step. Batch normalisation and dropout see each part by itself. Null: all of them."""
    lr: float = Field(0.1, gt=0)
    """The largest learning rate: that of the first epoch with `step` and `cosine`, that of the peak with the others."""
    schedule: Literal["step", "one_cycle", "cosine", "cosine_warmup"] = "step"
    """`step`: multiply by lr_gamma every lr_step epochs. `one_cycle`: linear up over 20 % of the run, linear down to 0.
    `cosine`: half a wave from lr down to 0, by whole epochs. `cosine_warmup`: linear up over `warmup_epochs`, then half a wave
    down to `min_lr`, step by step."""
    warmup_epochs: int = Field(0, ge=0)
    """`cosine_warmup`: epochs over which the learning rate rises from 0."""
    min_lr: float = Field(0.0, ge=0)
    """`cosine_warmup`: the learning rate at the end of the run."""
    lr_step: int = Field(50, ge=1)
    """`step`: epochs from one drop of the learning rate to the next."""
    lr_gamma: float = Field(0.1, gt=0, le=1)
    """`step`: what a drop multiplies the learning rate by."""
    lr_drop_offset: Literal[0, 1] = 1
    """1: every drop comes one epoch late, as in the CAT-RS, SmoothMix and DSRS code; 0: on time, as in Cohen's."""
    update: Literal["sgd", "adam", "adamw"] = "sgd"
    """How a gradient changes the parameters. `sgd`: with momentum. `adam`: Adam, weight decay as part of the gradient. `adamw`:
    Adam, weight decay apart from the gradient and only on weights, not on biases, normalisations, tokens and positions."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """`sgd`: share of the previous update that the next one keeps."""
    nesterov: bool = False
    """`sgd`: Nesterov's form of momentum, where the gradient counts where the momentum is about to lead."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """`adam`, `adamw`: each layer learns this much slower than the one above it; the head learns at the full rate."""
    weight_decay: float = Field(1e-4, ge=0)
    """With `sgd` and `adam` on all parameters, those of batch normalisation included, as in the field's code."""
    weight_decay_end: float | None = Field(None, ge=0)
    """Weight decay at the end of the run, approached from `weight_decay` along half a wave, step by step. Null: no change."""
    clip: float | None = Field(None, gt=0)
    """Largest l2 norm of the gradient of each parameter tensor; a longer one is scaled to it. Null: no limit."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the forward pass; losses stay float32."""
    augmentation: Literal["dataset", "none"] = "dataset"
    """`dataset`: random views of the training images as usual for the dataset; `none`: the images as they are."""
    noises: int = Field(1, ge=1, le=1024)
    """Noise draws per image and step (the field's m). With `splits`, each loader batch is cut into this many mini-batches."""
    noise_warmup: int = Field(0, ge=0)
    """Length of the warm-up of noise that has one: generalised Gaussian noise then starts as the Gaussian (0: no warm-up)."""
    noise_warmup_unit: Literal["epoch", "step"] = "epoch"
    """What `noise_warmup` counts; `step`: loader batches since the beginning of the run."""

    start_from: str | None = Field(None, min_length=1)
    """Checkpoint whose weights training starts from (fine-tuning), relative to where the workflow runs: a published file or one
    of ours. {noise}, {sigma} and {seed} stand for the noise entry's name, its sigma and the seed, as in `external`."""

    splits: ClassVar[bool] = True
    """Whether a loader batch of B images becomes `noises` consecutive mini-batches with one optimiser step each."""
    parallel: ClassVar[bool] = True
    """Whether the objective is a mean over images, so that the gradients of shares of a mini-batch add up to its gradient: what
    several devices and `micro_batch` need."""
    tables: ClassVar[frozenset[str]] = frozenset()
    """Names of the per-image tables that the method reads with `Batch.table` (CAT-RS: smoothed predictions). For each of them
    the method has a field of that name, which says the configuration's entry that the table is made from."""

    extras: ClassVar[tuple[str, ...]] = ()
    """Names of the device scalars that `loss` or `step` reports besides `loss` and `accuracy`: means over the images of a
    mini-batch. The log has a column `train_<name>` for each."""

    @field_validator("start_from")
    @classmethod
    def _known_places(cls, start_from: str | None) -> str | None:
        return None if start_from is None else checked_pattern(start_from)

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
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got momentum=0")
        self._check_schedule()
        self._check_update()
        if self.noise_warmup_unit == "epoch" and self.noise_warmup >= self.epochs:
            raise ValueError(
                f"noise_warmup must end before the run does, got noise_warmup={self.noise_warmup} and epochs={self.epochs}"
            )
        return self

    def _check_schedule(self) -> None:
        if self.schedule != "cosine_warmup" and (self.warmup_epochs or self.min_lr):
            raise ValueError(f"warmup_epochs and min_lr belong to schedule cosine_warmup, not to {self.schedule}")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs, got warmup_epochs={self.warmup_epochs} and epochs={self.epochs}"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must be at most lr, got min_lr={self.min_lr:g} and lr={self.lr:g}")

    def _check_update(self) -> None:
        if self.update != "sgd" and self.nesterov:
            raise ValueError(f"nesterov belongs to update sgd, not to {self.update}")
        if self.update not in ("adam", "adamw") and self.layer_decay != 1:
            raise ValueError(f"layer_decay belongs to update adam or adamw, not to {self.update}")

    def problems(self, noise: NoiseSpec) -> list[str]:
        """Why this method cannot train under a noise (empty: it can)."""
        return []

    def law(self, noise: NoiseSpec, epoch: int, number: int, batches: int) -> NoiseSpec:
        """The noise of loader batch `number` of `batches` in epoch `epoch` (both from 0): `noise`, or one on the way there."""
        counter = epoch if self.noise_warmup_unit == "epoch" else epoch * batches + number
        return noise.warmed(counter, self.noise_warmup)

    @property
    def repeats(self) -> bool:
        """Whether `step` does the same operations at every mini-batch of an epoch and reads nothing on the host: then a GPU may
        repeat a recording of them (`certflow.training.repeated`). False where the number of the batch decides."""
        return True

    @property
    def cost(self) -> float:
        """Work per image and epoch in units of one training pass (forward and backward) of one noisy copy.

        For planning alone. Here: `noises` copies, one pass each. A method with attacks overrides it: an attack step (forward,
        gradient in the input) counts 2/3.
        """
        return float(self.noises)

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

    def rates(self, names: Iterable[str]) -> Mapping[str, float]:
        """What the learning rate of each parameter, by name, is multiplied by: with `layer_decay` it depends on the layer."""
        from certflow.training.layerwise import rates

        return rates(names, self.layer_decay)

    @classmethod
    def rule(cls, own: Mapping[str, Any]) -> str:
        """The workflow rule that makes the model of an entry of this kind with these keys of its own."""
        return "train_model"

    def references(self, model: str, noise: str, seed: int) -> dict[str, Reference]:
        """Other models that this one is made from, by their role, when it is made for these entries."""
        return {}

    def pairing_problems(self, study: "Study", name: str, dataset: str, model: str, noise: str) -> list[str]:
        """Why the entry of this name cannot be used with the others (empty: it can)."""
        return []

    def brought(self, noise: str, sigma: float, seed: int) -> dict[str, str]:
        """Role → path of the files that a model is made from, besides data, for a noise entry (by name), its sigma, a seed."""
        return {} if self.start_from is None else {"start": fill(self.start_from, noise, sigma, seed)}

    @classmethod
    def load(
        cls, path: str | Path, spec: Mapping[str, Any], info: "DataInfo", /, **expected: Any
    ) -> tuple["torch.nn.Module", "Provenance"]:
        """The network that this kind wrote to `path`, in eval mode on the CPU. spec: `Study.model_spec` or what extends it."""
        from certflow.kinds.registry import revive
        from certflow.models.checkpoint import load_model

        return load_model(path, revive("model", {"inference": {}, **spec["model"]}), info, **expected)

    def optimiser(self, parameters: Iterable[tuple[str, "torch.nn.Parameter"]], steps: int) -> Optimiser:
        """What updates the parameters; `steps` is the number of its steps per epoch."""
        from certflow.training.adam import Adam
        from certflow.training.layerwise import decays
        from certflow.training.sgd import Sgd

        named = dict(parameters)
        if self.update == "sgd":
            return Sgd(named.items(), momentum=self.momentum, nesterov=self.nesterov)
        decoupled = self.update == "adamw"
        undecayed = [name for name, parameter in named.items() if decoupled and not decays(name, parameter)]
        return Adam(named.items(), decoupled=decoupled, rates=self.rates(named), undecayed=undecayed)

    def evaluate(
        self, model: "torch.nn.Module", batches: Any, noise: "NoiseSpec", *, seed: int, epoch: int, ranks: "Ranks"
    ) -> "Evaluation":
        """What the log says about test images after an epoch. `batches` holds this process's share of them (`ranks`)."""
        from certflow.training.evaluation import evaluate

        return evaluate(model, batches, noise, seed=seed, epoch=epoch, precision=self.precision, ranks=ranks)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """The scalar to minimise on one mini-batch, and what to log of it.

        Logged are device scalars, detached and never read on the host here: `accuracy`, the fraction of right training
        predictions (left out: logged as missing), and `loss`, where the field logs another quantity than the one minimised
        (left out: the one minimised), and what `extras` names.
        """
        raise NotImplementedError

    def step(self, batch: "Batch") -> dict[str, "torch.Tensor"]:
        """Add the gradient of one mini-batch to the parameters' `.grad` (cleared before), without changing parameters.

        Returns what `loss` logs and `objective`, the detached scalar that was minimised. A method overrides this to
        back-propagate in pieces, or to run attacks between them.
        """
        objective, logged = self.loss(batch)
        objective.backward()
        return {**logged, "objective": objective.detach()}


class ReadsPredictions(MethodSpec):
    """Base of the methods that read smoothed predictions of the training images, as the table `predictions`.

    The table is float32 [training images, classes]: frequencies of the classes under noise, by another model. What it was made
    from is part of what the trained weights depend on; the entry's name is not.
    """

    tables: ClassVar[frozenset[str]] = frozenset({"predictions"})
    unhashed: ClassVar[frozenset[str]] = MethodSpec.unhashed | {"predictions"}

    predictions: str = Field("base", min_length=1)
    """Entry of `predictions` that the method learns from."""
