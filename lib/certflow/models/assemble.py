"""Networks from specs: Sequential(normalise, backbone), so that the backbone's keys always start with `1.`."""

from typing import TYPE_CHECKING

import torch

from certflow.data.base import DataInfo
from certflow.models.normalise import Normalise
from certflow.models.resizing import Network

if TYPE_CHECKING:
    from certflow.models.base import ModelSpec


def build(spec: "ModelSpec", info: DataInfo) -> Network:
    """The network of `spec` for such data, with fresh weights: [rows, *info.shape] in [0,1] → logits [rows, info.classes].

    State keys are `0.mean` and `0.sd` (absent where nothing is normalised) and `1.*`. Weights are drawn from torch's global
    generator: seed it first. Raises ValueError with every reason why the architecture cannot take the data.
    """
    _check(spec, info)
    return Network(_normalise(spec, info), spec.backbone(spec.seen(info)), spec.resize)


def skeleton(spec: "ModelSpec", info: DataInfo) -> Network:
    """As `build`, for weights that are about to be loaded: nothing is fetched and torch's generators stay as they are."""
    _check(spec, info)
    with torch.random.fork_rng(devices=[]):
        return Network(_normalise(spec, info), spec.skeleton(spec.seen(info)), spec.resize)


def outline(spec: "ModelSpec", info: DataInfo) -> Network:
    """As `skeleton`, for the names and shapes of its tensors alone: they take no memory (torch's device `meta`)."""
    try:
        with torch.device("meta"):
            return skeleton(spec, info)
    except RuntimeError:  # some networks look at numbers while they are built
        return skeleton(spec, info)


def _check(spec: "ModelSpec", info: DataInfo) -> None:
    problems = [*spec.refusals(info), *spec.absent()]
    if problems:
        raise ValueError("; ".join(problems))


def _normalise(spec: "ModelSpec", info: DataInfo) -> Normalise:
    if spec.normalise == "none":
        return Normalise()
    if info.mean is not None and len(info.mean) != info.shape[0]:
        raise ValueError(f"mean has {len(info.mean)} values, the images have {info.shape[0]} channels")
    return Normalise(info.mean, info.sd)
