"""Networks built by timm, refused with a reason where it knows no such model or the model takes no such images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from certflow.data.base import DataInfo
from certflow.models.modes import in_mode
from certflow.models.shapes import describe
from certflow.models.timm_names import unknown


def create(name: str, info: DataInfo, *, pretrained: bool, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """timm's model `name` for images of `info.shape` and `info.classes` classes, in the mode timm leaves it (training).

    Models with a fixed input size are built for the size of the data where timm allows that. settings: further ones of timm's
    model. ValueError: no such model (close names are listed), weights that are not available, or a network that cannot take
    such images.
    """
    problem = unknown(name)
    if problem is not None:
        raise ValueError(problem)
    try:
        network = _create(name, info, pretrained, settings or {})
    except (RuntimeError, OSError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(f"timm could not build {name} for {describe(info.shape)} images: {error}") from error
    _check(name, network, info)
    return network


def refusal(name: str, info: DataInfo, settings: Mapping[str, Any]) -> str | None:
    """Why timm's model does not take these settings (None: it does), found by building it without memory for weights.

    What a network cannot do without memory, such as reading a number from a tensor, is not counted against it.
    """
    try:
        with torch.device("meta"):
            _create(name, info, False, settings)
    except (ValueError, TypeError, AssertionError, KeyError, AttributeError) as error:
        return f"timm's {name} does not take them: {error}"
    except RuntimeError:
        return None
    return None


def _create(name: str, info: DataInfo, pretrained: bool, settings: Mapping[str, Any]) -> nn.Module:
    import timm

    config = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": info.shape[1:]} if config is not None and config.fixed_input_size else {}
    return timm.create_model(
        name,
        pretrained=pretrained,
        num_classes=info.classes,
        in_chans=info.shape[0],
        **{**size, **settings},
    )


def _check(name: str, network: nn.Module, info: DataInfo) -> None:
    """One forward pass, whose logits must have the shape [1, classes]."""
    try:
        with torch.no_grad(), in_mode(network, training=False):
            shape = tuple(network(torch.zeros(1, *info.shape)).shape)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(f"timm's {name} cannot take {describe(info.shape)} images: {error}") from error
    if shape != (1, info.classes):
        raise ValueError(
            f"timm's {name} gives an output of shape {shape} where (1, {info.classes}) is needed, so it is not a classifier"
        )
