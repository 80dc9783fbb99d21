"""Image classifiers of the transformers library, whose output is logits alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certflow.data.base import DataInfo
from certflow.models.hf_folder import normalisation, require_fitting
from certflow.models.networks.hf import building, loaded, unloaded
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
    from transformers import AutoConfig, AutoModelForImageClassification

    sizes = {"image_size": list(info.shape[1:]), "num_channels": info.shape[0], "num_labels": info.classes}
    with building(architecture, f"{describe(info.shape)} images"):
        config = AutoConfig.for_model(architecture, **sizes, **settings)
        return Logits(AutoModelForImageClassification.from_config(config), {})


def load(path: str | Path, info: DataInfo) -> Logits:
    """The classifier in a folder with its weights, float32; `ArtefactError` for one that does not fit, key by key."""
    from transformers import AutoModelForImageClassification

    require_fitting(path, info)
    network = loaded(AutoModelForImageClassification, path)
    mean, sd = normalisation(path, info.shape[0])
    return Logits(network, {"num_classes": info.classes, "mean": mean, "std": sd})


def empty(path: str | Path, info: DataInfo) -> Logits:
    """The same network for weights that are about to be loaded."""
    from transformers import AutoModelForImageClassification

    require_fitting(path, info)
    return Logits(unloaded(AutoModelForImageClassification, path), {})
