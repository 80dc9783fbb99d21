"""What the arguments about models, images and noise stand for: a model ready to be sampled, on these images."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.doors.answers import require_output
from certflow.doors.arguments import weights_options
from certflow.doors.entries import entry, settings
from certflow.errors import ConfigError, DataError
from certflow.files.printable import printable

if TYPE_CHECKING:
    from certflow.doors.bring import Brought, PipelineModel
    from certflow.doors.given import Given
    from certflow.models.base import Inference
    from certflow.noise.base import NoiseSpec
    from certflow.sampling.classifier import BaseClassifier

ENOUGH = 64
"""Labelled images from which on the doctor has a look at a checkpoint."""


@dataclass(frozen=True)
class Asked:
    """A model ready to be sampled on images under noise."""

    brought: "Brought"
    given: "Given"
    noise: "NoiseSpec"
    base: "BaseClassifier"


def asked(arguments: argparse.Namespace) -> Asked:
    """What the arguments of `add_model`, `add_images` and `add_noise` stand for. Warnings are printed on stderr.

    `CertflowError` or ValueError where something cannot be used.
    """
    from certflow.certify.memory import ready
    from certflow.doors.bring import behind_denoiser_of
    from certflow.sampling.arguments import warn_of_scale

    require_output(arguments.out)
    brought, given = _model_and_images(arguments)
    other = _model_with_denoiser(arguments)
    if other is not None:
        brought = behind_denoiser_of(brought, other)
    noise = _noise(arguments, brought)
    if arguments.denoiser and other is None:
        brought = _behind(arguments, brought, given, noise)
    warn_of_scale(noise)
    for warning in _warnings(brought, noise):
        print(f"warning: {printable(warning)}", file=sys.stderr)  # it may be of a file that others wrote
    inference = _inference(brought.inference, arguments)
    classes = arguments.classes or brought.classes or (given.info.classes if given.info else None)
    options = {"classes": classes, "device": _device(arguments), "inference": inference, "batch": arguments.batch}
    base = ready(brought.model, given.shape, **options)
    _check_folders(given, base.classes)
    return Asked(brought, given, noise, base)


def _inference(own: "Inference", arguments: argparse.Namespace) -> "Inference":
    """The model's own way to be evaluated, but for what is stated."""
    from certflow.config.validation import validated
    from certflow.models.base import Inference

    names = ("precision", "compile", "native")
    stated = {name: value for name in names if (value := getattr(arguments, name))}
    try:
        return validated(Inference, {**own.model_dump(), **stated})
    except ConfigError as error:
        raise DataError(f"--{' --'.join(stated)}: {error.inline}") from None


def _device(arguments: argparse.Namespace) -> str:
    """The device that is named, else the first GPU where there is one."""
    from certflow.machine.naming import checked_device

    return str(checked_device(arguments.device))


def _model_and_images(arguments: argparse.Namespace) -> tuple["Brought", "Given"]:
    """The model, and the images as it takes them. A checkpoint is examined on the images where their classes are known."""
    from certflow.doors import bring
    from certflow.doors.bring import require_images
    from certflow.doors.code import from_python
    from certflow.models.header import is_ours
    from certflow.models.hf_folder import is_folder

    if arguments.model and not is_ours(arguments.model):
        return _folder(arguments) if is_folder(arguments.model) else _checkpoint(arguments)
    _no_architecture(arguments)
    if arguments.model:
        brought = bring.from_results(arguments.model)
    elif arguments.onnx:
        brought = bring.from_onnx(arguments.onnx, _device(arguments))
    else:
        brought = from_python(arguments.python)
    require_images(brought)
    given = _images(arguments, arguments.shape or brought.shape, brought.dataset)
    if brought.shape is not None and given.shape != tuple(brought.shape):
        raise DataError(
            f"{arguments.images}: images are {list(given.shape)}, {brought.name} takes {list(brought.shape)}; --resize and "
            "--colour make other image files fit"
        )
    return brought, given


def _folder(arguments: argparse.Namespace) -> tuple["Brought", "Given"]:
    """An image classifier as transformers stores it: the folder says what it is."""
    from certflow.doors import bring
    from certflow.models.base import ModelSpec
    from certflow.models.hf_folder import image_data, image_shape

    _no_architecture(arguments, "set")
    spec = entry(ModelSpec, "hf_image", weights=arguments.model, **settings(arguments.set))
    of_any_size = spec.resize is not None or arguments.shape is not None
    given = _images(arguments, arguments.shape if of_any_size else image_shape(arguments.model), None)
    return bring.from_folder(arguments.model, spec, image_data(arguments.model, given.shape)), given


def _checkpoint(arguments: argparse.Namespace) -> tuple["Brought", "Given"]:
    from certflow.doors import bring
    from certflow.models.base import ModelSpec
    from certflow.models.published import NAMES, named
    from certflow.models.reading import weight_file

    if (arguments.arch is None) == (arguments.kind is None):
        with weight_file(arguments.model):  # a file without weights says what it is, and how it is used
            pass
        raise DataError(
            f"{arguments.model}: is not a model of the pipeline; state its architecture: --kind with --set, or --arch "
            f"({', '.join(NAMES)})"
        )
    if arguments.arch and arguments.set:
        raise DataError("--set: is for --kind; --arch states the whole architecture. Leave one of them out")
    model = arguments.arch or entry(ModelSpec, arguments.kind, **settings(arguments.set))
    natural = (named(model) if isinstance(model, str) else model).natural
    given = _images(arguments, arguments.shape or natural, None)
    labels = given.labels if len(given) >= ENOUGH else None
    found = bring.from_checkpoint(
        arguments.model,
        model,
        info=given.info,
        shape=given.shape,
        classes=arguments.classes or (given.info.classes if given.info else None),
        test=None if labels is None else Labelled(given, labels),
        noise=None if labels is None else _noise(arguments, None),
        seed=arguments.seed,
        **weights_options(arguments),
    )
    return found, given


def _no_architecture(arguments: argparse.Namespace, *but: str) -> None:
    usual = {**dict.fromkeys(("arch", "kind", "mean", "sd")), "set": [], "leave_out": [], "weights": "auto"}
    stated = [
        name.replace("_", "-") for name, value in usual.items() if name not in but and getattr(arguments, name) != value
    ]
    if stated:
        raise DataError(
            f"--{stated[0]}: is for weights made elsewhere; the file of this model states it already. Leave it out"
        )


class Labelled:
    """Given images as a split, for the doctor."""

    def __init__(self, given: "Given", labels: np.ndarray):
        self.given, self.labels = given, labels

    def __len__(self) -> int:
        return len(self.given)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [images, channels, height, width]"""
        found = np.concatenate([self.given.read(slice(row, row + 1)) for row in map(int, indices)])
        return found if found.dtype == np.uint8 else (found * 255).round().astype(np.uint8)

    def describe(self, index: int) -> str:
        return self.given.describe(int(self.given.index[index]))


def _images(arguments: argparse.Namespace, shape: Any, own: Any) -> "Given":
    from certflow.doors.given import Looks, given
    from certflow.doors.labels import with_labels

    looks = Looks(shape=shape, resize=arguments.resize, colour=arguments.colour, root=arguments.root)
    found = given(arguments.images, looks, own)
    if shape is not None and found.shape != tuple(shape) and arguments.shape:
        raise DataError(f"{arguments.images}: images are {list(found.shape)}, --shape says {list(shape)}")
    return with_labels(found, arguments.labels) if arguments.labels else found


def _noise(arguments: argparse.Namespace, brought: "Brought | None") -> "NoiseSpec":
    from certflow.noise.base import NoiseSpec

    text = arguments.noise
    if text is None:
        if brought is None or brought.noise is None:
            raise DataError("--noise: is not known for this model; give it, for example --noise gaussian:0.25")
        return brought.noise
    kind, _, sigma = text.partition(":")
    if text.startswith("{") or not sigma:
        return entry(NoiseSpec, text)
    try:
        return entry(NoiseSpec, kind, sigma=float(sigma))
    except ValueError:
        raise DataError(f"--noise {text}: {sigma!r} is not a number; write for example gaussian:0.25") from None


def _model_with_denoiser(arguments: argparse.Namespace) -> "PipelineModel | None":
    """The model made by the pipeline whose denoiser is asked for, where `--denoiser` names a file."""
    from certflow.doors.bring import named_results

    text = arguments.denoiser or ""
    return None if text.startswith("{") or not Path(text).is_file() else named_results(text)


def _behind(arguments: argparse.Namespace, brought: "Brought", given: "Given", noise: "NoiseSpec") -> "Brought":
    from certflow.denoising.base import DenoiserSpec
    from certflow.doors.bring import behind

    text = arguments.denoiser
    kind, _, file = text.partition(":")
    spec = entry(DenoiserSpec, text) if text.startswith("{") else entry(DenoiserSpec, kind, weights=file or None)
    if not spec.trained or spec.train is not None:
        raise DataError(
            f"--denoiser {text}: names no weights; write for example drunet:drunet_gray.pth, an entry as JSON, or a model file "
            "of the pipeline that was trained behind a denoiser"
        )
    return behind(brought, spec, given.shape, noise.sigma)


def _warnings(brought: "Brought", noise: "NoiseSpec") -> list[str]:
    found = list(brought.warnings)
    if brought.noise is not None and brought.noise != noise:
        was, now = ({**law.canonical()} for law in (brought.noise, noise))
        changed = ", ".join(f"{key} {was.get(key)} → {now[key]}" for key in now if was.get(key) != now[key])
        found.append(f"{brought.name}: was trained under other noise ({changed})")
    return found


def _check_folders(given: "Given", classes: int) -> None:
    """Labels by the order of folder names mean nothing where some class has no folder."""
    if given.folders and len(given.folders) != classes:
        raise DataError(
            f"{given.name}: has {len(given.folders)} class folders, the model has {classes} classes; call the folders by the "
            "numbers of their classes, or give --labels"
        )
