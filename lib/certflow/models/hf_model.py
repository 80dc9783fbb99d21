"""Models of the transformers library (`huggingface/transformers`), from a folder, a hub, or settings."""

import os
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from certflow.data.base import DataInfo
from certflow.files.contents import by_number
from certflow.kinds.effect import OnlyWith
from certflow.models.base import ModelSpec, Setting
from certflow.models.hf_folder import pinned, uncached


class TransformersModel(ModelSpec):
    """Base of the kinds that the library builds. It must be installed; no code that comes with a model is run."""

    requires: ClassVar[tuple[str, ...]] = ("transformers",)
    unhashed: ClassVar[frozenset[str]] = ModelSpec.unhashed | {"download"}
    said_by_data: ClassVar[frozenset[str]] = frozenset({"num_labels", "id2label", "label2id"})
    """What transformers would take as a setting, too, but the data say."""
    read: ClassVar[tuple[str, ...]] = ()
    """Files of a folder that the function depends on."""

    weights: str | None = Field(None, min_length=1)
    """Folder with `config.json`, `model.safetensors` and, for images, `preprocessor_config.json` if it normalises its input."""
    hub: str | None = Field(None, min_length=1)
    """Name of a model on a hub, such as `google/vit-base-patch16-224`; only what lies in the local cache unless `download`."""
    hub_revision: Annotated[str | None, OnlyWith("hub")] = None
    """Commit of the model on the hub, all 40 digits; needed with `hub`, since the newest commit changes."""
    download: Annotated[bool, OnlyWith("hub")] = False
    """Fetch what the cache lacks, where there is a network."""
    network: str | None = Field(None, min_length=1)
    """Instead of stored weights: a model type of transformers, such as `vit` or `bert`, with new random weights."""
    settings: dict[str, Setting] = {}
    """Settings of such an architecture, such as `{patch_size: 4, hidden_size: 64, num_hidden_layers: 4}`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.weights, self.hub, self.network)) != 1:
            raise ValueError("give one of `weights` (a folder), `hub` and `network`")
        pinned(self.hub, self.hub_revision)
        if self.settings and self.network is None:
            raise ValueError("settings: a model with weights is built as its config.json says")
        for name in sorted(self.settings.keys() & self.said_by_data):
            raise ValueError(f"settings: {name} is not a setting of the network: the data say it")
        return self

    @property
    def brings_weights(self) -> bool:
        """Unless it is built from settings."""
        return self.network is None

    @property
    def own_layer(self) -> bool:
        """Whether the last layer is the one that the folder has."""
        return True

    def problems(self, info: DataInfo) -> list[str]:
        """What a folder's settings say against such data; whether it is there is another question (`absent`)."""
        from certflow.models.hf_folder import misfits

        if self.weights is None or not os.path.exists(self.weights):
            return []
        return misfits(self.weights, info, stored=self.own_layer)

    def absent(self) -> list[str]:
        missing = self.weights is not None and not os.path.isdir(self.weights)
        folder = [f"weights: there is no folder {self.weights}; put it there, or correct the path"] if missing else []
        return [*super().absent(), *folder, *uncached(self.hub, self.hub_revision, download=self.download)]

    def files(self) -> list[str]:
        from certflow.models.hf_folder import files_of

        return [] if self.network is not None else files_of(self._folder(), self.read)

    def brought(self) -> dict[str, str]:
        return {} if self.weights is None else by_number("model", self.files())

    def _folder(self) -> str:
        """Where the model lies; `ArtefactError` for one of a hub that is not in its cache."""
        from certflow.models.hf_folder import cached

        if self.weights is not None:
            return self.weights
        return str(cached(self.hub, self.hub_revision, download=self.download, patterns=("*.json", "*.safetensors")))
