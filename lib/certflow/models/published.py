"""Checkpoints of the field's papers, and anybody's plain weights, by the name of their architecture."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.kinds.spec import problems_of
from certflow.models.assemble import outline, skeleton
from certflow.models.base import ModelSpec
from certflow.models.fitting import fit, head, require_fit
from certflow.models.keys import Published
from certflow.models.normalise import CIFAR10, CIFAR100, HALF, IMAGENET, Normalise, normalisation
from certflow.models.resizing import Network
from certflow.models.taking import OURS, Source, take

Numbers = tuple[float, ...]

NAMES = (
    "lenet",
    "mnist_43",
    "cifar_resnet20",
    "cifar_resnet110",
    "cifar100_resnet110",
    "resnet50",
    "wide_resnet28_10",
    "timm:<name>",
)
"""What `load_checkpoint` calls architectures: the papers' own option names. Other depths and widths are spelled alike."""


@dataclass(frozen=True)
class Loaded:
    """A network in eval mode, where its normalisation came from (`given`, `file` or `data`), and what the file is."""

    module: Network
    normalisation: str
    source: Source


def load_checkpoint(
    path: str | Path,
    model: str | ModelSpec = "cifar_resnet110",
    *,
    classes: int | None = None,
    shape: Sequence[int] | None = None,
    mean: Numbers | None = None,
    sd: Numbers | None = None,
    weights: str = "auto",
    outputs: Sequence[int] | None = None,
    leave_out: Sequence[str] = (),
    device: str | torch.device = "cpu",
) -> torch.nn.Sequential:
    """A network with the weights of a published or own file: [rows, channels, height, width] in [0,1] → logits, eval mode.

    path: safetensors, or a `.pth` / `.pth.tar` as `locuslab/smoothing`, `Hadisalman/smoothing-adversarial`,
    `alinlab/smoothing-catrs` or `jh-jeong/smoothmix` write them; nothing in it is unpickled but tensors.
    model: one of `NAMES`, or a model spec. classes: as many as the file's last linear layer has rows, unless given.
    shape: channels, height and width of the images, where they are not the architecture's usual ones (`ModelSpec.natural`).
    mean, sd: normalisation per channel in [0,1] pixel units; unless given, what the file stores, else the papers' values for
    that name. A mean without sd centres only, as some SmoothAdv models need. With a model spec and a file that stores none,
    they must be given (or the spec say `normalise="none"`).
    weights, outputs, leave_out: see `load_weights`.

    Raises `ArtefactError` for files that cannot be read or do not fit, ValueError for names and numbers that cannot be. Warns
    of a mean above all pixels.
    """
    spec = named(model) if isinstance(model, str) else model
    info = DataInfo(classes=classes or 10, shape=spec.natural if shape is None else tuple(shape))
    options = {"weights": weights, "outputs": outputs, "leave_out": leave_out}
    loaded = load_weights(path, spec, info, classes=classes, mean=mean, sd=sd, **options)
    network = loaded.module
    if loaded.normalisation == "data" and spec.normalise == "dataset":
        if not isinstance(model, str):
            raise ValueError(
                f"{path}: stores no normalisation; give mean and sd as it was trained with, or normalise=none among the "
                "settings of its kind if there were none"
            )
        network[0] = _normalise(*_usual(model, network[1]), info.shape[0], path)
    stated = mean if mean is not None else numbers_of(normalisation(network).mean)
    if stated is not None and max(stated) > 1:
        warnings.warn(
            f"{path}: mean {list(stated)} is not one of pixels in [0,1]; if it is meant for pixels from 0 to 255, divide mean "
            "and sd by 255, and give both",
            stacklevel=2,
        )
    return network.to(device)


def load_weights(
    path: str | Path,
    spec: ModelSpec,
    info: DataInfo,
    *,
    classes: int | None = None,
    mean: Numbers | None = None,
    sd: Numbers | None = None,
    weights: str = "auto",
    outputs: Sequence[int] | None = None,
    leave_out: Sequence[str] = (),
) -> Loaded:
    """The network of `spec`, in eval mode on the CPU, with a file's weights. Errors as in `load_checkpoint`.

    It normalises by `mean` and `sd`, else as the file says, else by `info`. It has `classes` classes, else as many as the file.
    weights: which of the file's weights, as in `keys.choose`. outputs: numbers of the file's outputs that are the network's
    classes, in order: some of them, or all of them in another order. leave_out: as in `keys.rename`.
    """
    outlined = outline(spec, info)[1]
    published, source = take(path, outlined, info.classes, weights, leave_out)
    theirs = _classes(outlined, published)
    if outputs is not None:
        network = _selected(path, spec, info, published, theirs, outputs)
    else:
        network = _filled(path, spec, replace(info, classes=classes or theirs or info.classes), published)
    # Our files that store none normalise nothing.
    stored = source.what == OURS or published.mean is not None or published.sd is not None
    normalisation = "given" if mean is not None or sd is not None else "file" if stored else "data"
    if normalisation != "data":
        values = (mean, sd) if normalisation == "given" else _stored(published, path)
        network[0] = _normalise(*values, info.shape[0], path)
    return Loaded(network.eval(), normalisation, source)


def _filled(path: str | Path, spec: ModelSpec, info: DataInfo, published: Published) -> Network:
    """The network with the file's weights. It takes memory once they are known to fit: a short name may stand for gigabytes."""
    require_fit(outline(spec, info)[1], published.weights, path)
    network = skeleton(spec, info)
    fit(network[1], published.weights, path, exact=False)
    return network


def _selected(
    path: str | Path,
    spec: ModelSpec,
    info: DataInfo,
    published: Published,
    theirs: int | None,
    outputs: Sequence[int],
) -> Network:
    """The network whose classes are some of the file's outputs: its last layer has those rows only.

    The result is compared with the file's own network on random images, so that an architecture whose outputs are not rows of
    one layer is refused.
    """
    if len(outputs) != info.classes:
        raise ValueError(
            f"{path}: outputs lists {len(outputs)} numbers, the data have {info.classes} classes; name one each"
        )
    if theirs is None or not 0 <= min(outputs) <= max(outputs) < theirs or len(set(outputs)) < len(outputs):
        raise ValueError(
            f"{path}: outputs must be different numbers from 0 to {(theirs or 0) - 1}, got {list(outputs)[:8]}"
        )
    whole = _filled(path, spec, replace(info, classes=theirs), published)
    part, state = skeleton(spec, info), whole[1].state_dict()
    of_more = outline(spec, replace(info, classes=theirs + 1))[1].state_dict()
    by_class = [name for name, tensor in of_more.items() if tensor.shape != state[name].shape]
    rows = torch.tensor(list(outputs))
    fit(part[1], state | {name: state[name][rows] for name in by_class}, path, exact=False)
    x = torch.rand(2, *info.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = whole.eval()(x)[:, rows], part.eval()(x)
    if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())):
        raise ValueError(f"{path}: the outputs of {spec.kind} are not rows of its last layer, so none can be chosen")
    return part


def numbers_of(tensor: torch.Tensor | None) -> Numbers | None:
    """A tensor's values; None for none."""
    return None if tensor is None else tuple(tensor.double().flatten().tolist())


def _stored(published: Published, path: str | Path) -> tuple[Numbers | None, Numbers | None]:
    if published.mean is None and published.sd is not None:
        raise ValueError(
            f"{path}: stores a standard deviation (sd, std or sigma) beside the weights and no mean; if it is a noise level, "
            "leave it out by its name (leave_out); if it is part of a normalisation, give mean and sd"
        )
    return numbers_of(published.mean), numbers_of(published.sd)


def _normalise(mean: Numbers | None, sd: Numbers | None, channels: int, path: str | Path) -> Normalise:
    try:
        layer = Normalise(mean, sd)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if layer.mean is not None and len(layer.mean) not in (1, channels):
        raise ValueError(
            f"{path}: normalisation has {len(layer.mean)} means, the images have {channels} channels; give mean and sd as it "
            "was trained with"
        )
    return layer


def _classes(network: torch.nn.Module, published: Published) -> int | None:
    """Rows of the file's last linear layer, where there is one."""
    weight = published.weights.get(head(network) or "")
    return len(weight) if weight is not None and weight.dim() == 2 else None


def named(name: str) -> ModelSpec:
    """The spec of an architecture by its name in the papers' code, one of `NAMES`; ValueError for names of none."""
    try:
        return _named(name)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(problems_of(error))}") from None


def _named(name: str) -> ModelSpec:
    if name in ("lenet", "mnist_43", "resnet50"):
        return spec_class("model", name).model_validate({})
    if name.startswith("timm:"):
        return spec_class("model", "timm").model_validate({"name": name.removeprefix("timm:")})
    resnet = re.fullmatch(r"cifar(?:100)?_resnet(\d+)", name)
    wide = re.fullmatch(r"wide_resnet(\d+)_(\d+)", name)
    if resnet:
        return spec_class("model", "cifar_resnet").model_validate({"depth": int(resnet[1])})
    if wide:
        return spec_class("model", "wide_resnet").model_validate({"depth": int(wide[1]), "width": int(wide[2])})
    raise ValueError(f"no architecture named {name!r}; known: {', '.join(NAMES)} (other depths and widths alike)")


def _usual(name: str, network: Any) -> tuple[Numbers | None, Numbers | None]:
    """The normalisation that the papers' code applies in front of the architecture of that name."""
    if name == "lenet":
        return None, None
    if name == "mnist_43":
        return HALF
    if name == "resnet50":
        return IMAGENET
    if name.startswith("timm:"):
        config = network.pretrained_cfg
        return tuple(config["mean"]), tuple(config["std"])
    return CIFAR100 if network.fc.out_features == 100 else CIFAR10
