"""What every training method states, and the one function it has to supply: its loss on a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from certflow.noise.base import NoiseSpec
from certflow.training.places import checked_pattern, fill
from certflow.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from certflow.config import Study
    from certflow.config.entries import Entries
    from certflow.data.base import DataInfo
    from certflow.files.provenance import Provenance
    from certflow.training.assembly import Assembled, Given
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


class MethodSpec(Recipe):
    """Base of all training methods: a recipe, and `loss` to be supplied by each kind.

    `preset: paper` in the configuration overlays the row that the papers state for the dataset and noise level at hand (see
    `presets/`) over the recipe's defaults, and keys written by the user win over both.
    """

    family: ClassVar[str] = "method"
    unhashed: ClassVar[frozenset[str]] = frozenset({"start_from"})
    needs: ClassVar[frozenset[str]] = frozenset()
    """What the noise must offer (`NoiseSpec.offers`) for this method to train under it."""
    trains: ClassVar[bool] = True
    """False for kinds that bring a finished model instead."""
    composed: ClassVar[bool] = False
    """Whether what is stored is a denoiser before a classifier, not the network of the model entry alone."""

    start_from: str | None = Field(None, min_length=1)
    """Checkpoint whose weights training starts from (fine-tuning), relative to where the workflow runs: a published file, or
    one made here. {noise}, {sigma} and {seed} stand for the noise entry's name, its sigma and the seed, as in `external`."""

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

    def problems(self, noise: NoiseSpec) -> list[str]:
        """Why this method cannot train under a noise, apart from `needs` (empty: it can)."""
        return []

    def refusals(self, noise: NoiseSpec) -> list[str]:
        """`problems`, those of `needs` that the noise does not offer, and a warm-up that it does not have."""
        found = [*self.problems(noise), *(f"{self.kind} {line}" for line in noise.lacks(self.needs))]
        if self.noise_warmup and not noise.warms_up:
            found.append(f"noise_warmup: noise of kind {noise.kind} has no warm-up; set it to 0")
        return found

    @property
    def repeats(self) -> bool:
        """Whether `step` does the same operations at every mini-batch of an epoch and reads nothing on the host: then a GPU may
        repeat a recording of them (`certflow.training.fast.repeated`). False where the number of the batch decides."""
        return True

    @property
    def cost(self) -> float:
        """Work per image and epoch in units of one training pass (forward and backward) of one noisy copy.

        For planning alone. Here: `noises` copies, one pass each. A method with attacks overrides it: an attack step (forward,
        gradient in the input) counts 2/3.
        """
        return float(self.noises)

    @classmethod
    def learning(cls, own: Mapping[str, Any]) -> Literal["classifier", "denoiser"] | None:
        """Which part of the model an entry of this kind with these keys trains; None: nothing, so that there is no log."""
        return "classifier" if cls.trains else None

    @property
    def trained_here(self) -> bool:
        """Whether a part of this method's model is trained here (`learning`)."""
        return self.learning(vars(self)) is not None

    def without_effect(self) -> dict[str, str]:
        """Where nothing is trained here, all that a training is told besides."""
        recipe = () if self.trained_here else MethodSpec.model_fields.keys() - {"kind"}
        return {
            **super().without_effect(),
            **{name: "has no effect where nothing is trained" for name in sorted(recipe)},
        }

    def references(self, model: str, noise: str, seed: int) -> dict[str, Reference]:
        """Other models that this one is made from, by their role, when it is made for these entries."""
        return {}

    def own_denoiser(self) -> str | None:
        """Entry of `denoisers` that the model is made from; None: none."""
        return None

    def denoiser_entry(self, study: "Entries", dataset: str, noise: str) -> str | None:
        """Entry of `denoisers` before the finished model's classifier: the method's own, or that of a model it is made from."""
        return self.own_denoiser()

    def pairing_problems(self, study: "Study", dataset: str, model: str, noise: str) -> list[str]:
        """Why this method cannot be used with the other entries, by their names (empty: it can). What is wrong with the models
        that it makes its own from is not said here, but of each of them."""
        return []

    def brought(self, noise: str, sigma: float, seed: int) -> dict[str, str]:
        """Role → path of the files that a model is made from, besides data, for a noise entry (by name), its sigma, a seed."""
        return {} if self.start_from is None else {"start": fill(self.start_from, noise, sigma, seed)}

    def assemble(self, given: "Given") -> "Assembled":
        """The network before any training, from what the specification names; torch's generator has the run's seed.

        Parameters that take gradients are what learns. Raises `ArtefactError` and `DataError` for files that do not fit or are
        not those that the specification means.
        """
        from certflow.training.assembly import fresh

        return fresh(given)

    def finish(self, module: "torch.nn.Module") -> None:
        """Convert the trained network, in place, to the form in which it is stored; the function stays the same."""

    def examine(self, module: "torch.nn.Module", given: "Given", model: str | Path) -> dict[str, Any]:
        """Notes about the finished network for its record; model: the file it will be stored in, for messages."""
        return {}

    @classmethod
    def load(
        cls, path: str | Path, spec: Mapping[str, Any], info: "DataInfo", /, **expected: Any
    ) -> tuple["torch.nn.Module", "Provenance"]:
        """The network that this kind wrote to `path`, in eval mode on the CPU. spec: `Study.model_spec` or what extends it."""
        from certflow.kinds.registry import revive
        from certflow.models.checkpoint import load_model

        return load_model(path, revive("model", spec["model"]), info, **expected)

    def evaluate(
        self, model: "torch.nn.Module", batches: Any, noise: "NoiseSpec", *, seed: int, epoch: int, ranks: "Ranks"
    ) -> "Evaluation":
        """What the log says about test images after an epoch. `batches` holds this process's share of them (`ranks`)."""
        from certflow.training.evaluation import evaluate

        return evaluate(model, batches, noise, seed=seed, epoch=epoch, precision=self.precision, ranks=ranks)

    def judge(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise a `TrainingError` if the log, up to the epoch just trained, shows that going on is useless."""

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
