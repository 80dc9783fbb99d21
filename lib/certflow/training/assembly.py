"""What a model is made from, and its network before any training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow.data.base import DataInfo, DatasetSpec, Split
from certflow.data.store import content_digest, open_split
from certflow.files.contents import content, contents, require_contents
from certflow.files.tensorfile import tensors_digest
from certflow.kinds.registry import revive
from certflow.kinds.spec import digest
from certflow.models import build
from certflow.models.starting import start_from
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    from certflow.denoising.base import DenoiserSpec

Place = str | Path


@dataclass(frozen=True)
class Data:
    """A prepared dataset. digest: that of its content.

    A split is opened when it is asked for: of a finished model nobody needs the training images. Errors as in `open_split`.
    """

    dataset: DatasetSpec
    manifest: Place
    digest: str

    @property
    def info(self) -> DataInfo:
        return self.dataset.info()

    @cached_property
    def train(self) -> Split:
        return open_split(self.dataset, self.manifest, "train")

    @cached_property
    def test(self) -> Split:
        return open_split(self.dataset, self.manifest, "test")


def open_data(dataset: DatasetSpec, manifest: Place) -> Data:
    """A dataset from the manifest that `prepare` wrote; errors as in `content_digest`."""
    return Data(dataset, manifest, content_digest(manifest))


@dataclass(frozen=True)
class Files:
    """Where the files lie that a model is made from, besides the images."""

    parts: Mapping[str, Place] = field(default_factory=dict)
    """Other models, by their role (`MethodSpec.references`)."""
    tables: Mapping[str, Place] = field(default_factory=dict)
    """Per-image tables, by name."""
    checkpoint: Place | None = None
    """The user's own model: one to be brought in, or one that training starts from."""
    denoiser: "DenoiserSpec | None" = None
    """The entry of a denoiser that stands before the classifier; its files are among its fields."""
    trained: Place | None = None
    """That denoiser's weights, where it was trained by itself."""


@dataclass(frozen=True)
class Given:
    """All that a method may make a network from. spec: `Study.model_spec`."""

    spec: Mapping[str, Any]
    data: Data
    files: Files
    device: Any

    @property
    def info(self) -> DataInfo:
        """The dataset's."""
        return self.data.info

    @property
    def seed(self) -> int:
        """The run's."""
        return self.spec["seed"]

    @property
    def noise(self) -> NoiseSpec:
        """The noise that the model is made for."""
        return revive("noise", self.spec["noise"])

    def architecture(self) -> Any:
        """The model's entry."""
        return revive("model", self.spec["model"])


@dataclass(frozen=True)
class Assembled:
    """A network, and what it was assembled from.

    `module` is what is stored; `trainee` is what the loop trains and evaluates, where that holds more than the module.
    parents: role → digest of everything it was made from. facts: what decides its function besides the specification.
    """

    module: torch.nn.Module
    parents: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    trainee: torch.nn.Module | None = None


def own_weights(given: Given, network: torch.nn.Module) -> dict[str, str]:
    """`weights`: a digest of the files that the model entry's weights come from, where it brings any; of weights that a library
    fetches itself, of the `network` as it was built, a new last layer included.

    `DataError` where they are not those that the specification names.
    """
    architecture = given.architecture()
    require_contents(given.spec, contents(architecture.brought()))
    files = architecture.files()
    if files:
        return {"weights": digest([content(path) for path in files])}
    return {"weights": tensors_digest(network.state_dict())} if architecture.brings_weights else {}


def fresh(given: Given) -> Assembled:
    """The architecture with initial weights from torch's generator, or with those of a checkpoint to start from.

    ValueError where a checkpoint is given and the specification does not say so, or the other way round; `ArtefactError` and
    `DataError` for a checkpoint that does not fit, or is not the one that the specification names.
    """
    checkpoint, architecture = given.files.checkpoint, given.architecture()
    if bool(given.spec.get("fine_tuned")) != (checkpoint is not None):
        raise ValueError("a checkpoint to start from is given if and only if the specification says fine_tuned")
    module = build(architecture, given.info)
    parents = {"data": given.data.digest, **own_weights(given, module)}
    if checkpoint is None:
        return Assembled(module, parents)
    start = start_from(module, checkpoint, architecture, given.info)
    found = {"start": start.pop("sha256")}
    require_contents(given.spec, found)
    return Assembled(module, parents | found, notes={"start": start})
