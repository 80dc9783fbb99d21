"""Image classifiers of the transformers library, whose output is logits alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certflow.data.base import DataInfo
from certflow.errors import ArtefactError
from certflow.models.hf_folder import misfits, normalisation, require_complete
from certflow.models.shapes import describe


class Logits(nn.Module):
    """A classifier of transformers as a function from images to logits.

    `pretrained_cfg` says what its weights were made for, in the words that timm's models have for it.
    """

    def __init__(self, network: nn.Module, pretrained_cfg: Mapping[str, Any]):
        super().__init__()
        self.network, self.pretrained_cfg = network, dict(pretrained_cfg)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=x).logits


def create(architecture: str, info: DataInfo, settings: Mapping[str, Any]) -> Logits:
    """A classifier with fresh weights; ValueError where transformers knows no such architecture or settings."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForImageClassification

    sizes = {"image_size": list(info.shape[1:]), "num_channels": info.shape[0], "num_labels": info.classes}
    try:
        config = AutoConfig.for_model(architecture, **sizes, **settings)
        network = AutoModelForImageClassification.from_config(config)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
        raise ValueError(
            f"transformers could not build {architecture} for {describe(info.shape)} images: {error}"
        ) from error
    return Logits(network, {})


def load(path: str | Path, info: DataInfo) -> Logits:
    """The classifier in a folder with its weights, float32; `ArtefactError` for one that does not fit, key by key."""
    from transformers import AutoModelForImageClassification

    _require_fitting(path, info)
    settings = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}
    try:
        network, found = AutoModelForImageClassification.from_pretrained(
            str(path), output_loading_info=True, **settings
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ArtefactError(f"{path}: transformers cannot read it: {error}") from error
    require_complete(path, found)
    mean, sd = normalisation(path, info.shape[0])
    return Logits(network, {"num_classes": info.classes, "mean": mean, "std": sd})


def empty(path: str | Path, info: DataInfo) -> Logits:
    """The same network for weights that are about to be loaded."""
    from transformers import AutoConfig, AutoModelForImageClassification

    _require_fitting(path, info)
    config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    return Logits(AutoModelForImageClassification.from_config(config), {})


def _require_fitting(path: str | Path, info: DataInfo) -> None:
    wrong = misfits(path, info)
    if wrong:
        raise ArtefactError("; ".join(wrong))
