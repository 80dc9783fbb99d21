"""A model to certify, from a file: results of the pipeline, a checkpoint, or ONNX. From Python code: `certflow.doors.code`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from certflow.data.base import DataInfo, DatasetSpec, Split
from certflow.errors import ArtefactError, DataError
from certflow.files.intact import file_digest
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import digest
from certflow.models.assemble import build
from certflow.models.base import Inference, ModelSpec
from certflow.models.header import carried_warnings, is_ours, read_header
from certflow.models.hf_folder import normalisation
from certflow.models.normalise import Normalise
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    from certflow.denoising.base import DenoiserSpec
    from certflow.models.examination import Examination


@dataclass(frozen=True)
class Brought:
    """A model and what is known about it."""

    model: torch.nn.Module | Callable[[torch.Tensor], Any]
    """Images float32 [rows, channels, height, width] in [0,1] → logits; it normalises them itself."""
    source: str
    """`results`, `checkpoint`, `onnx` or `python`."""
    name: str
    """The file, or `module:function`."""
    digest: str
    """SHA-256 of what it was brought from. Of Python code only the file that was named is known."""
    shape: tuple[int, ...] | None = None
    """Channels, height and width of its images; None: those of whatever it is given."""
    classes: int | None = None
    """Number of classes; None: as many as it returns logits."""
    noise: NoiseSpec | None = None
    """The noise that it was trained under, where that is known."""
    dataset: DatasetSpec | None = None
    """The data that it was trained on, where these are known."""
    inference: Inference = field(default_factory=Inference)
    """How it is evaluated."""
    warnings: tuple[str, ...] = ()
    """What looks wrong with it."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """The specification that it was made from (source `results`)."""
    examination: "Examination | None" = None
    """What the doctor found out (source `checkpoint`, with test images)."""

    def recorded(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {"source": self.source, "name": self.name, "sha256": self.digest, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class PipelineModel(Brought):
    """A model that the pipeline made: everything is known about it."""

    model: torch.nn.Module
    shape: tuple[int, ...]
    classes: int
    noise: NoiseSpec
    dataset: DatasetSpec


def require_images(brought: Brought) -> None:
    """`DataError` for a model of texts: there is no certificate of a radius for one."""
    if brought.dataset is not None and brought.dataset.info().vocabulary is not None:
        raise DataError(
            f"{brought.name}: is a model of texts, and radii are those of images; the pipeline judges models of texts by "
            "attacks and by knowledge continuity (docs/knowledge.md)"
        )


def from_results(path: str | Path) -> PipelineModel:
    """The model of a file that the pipeline wrote (`results/train/.../model.safetensors`).

    Its record says everything: architecture, data, noise. Errors as in `MethodSpec.load`, and an `ArtefactError` for files of
    ours that hold no model.
    """
    record, identity = read_header(path)
    record.require(path, format="model")
    made = record.spec
    dataset = revive("dataset", made["dataset"])
    info = dataset.info()
    module, _ = spec_class("method", made["method"]["kind"]).load(path, made, info)
    return PipelineModel(
        model=module,
        source="results",
        name=str(path),
        digest=identity,
        shape=info.shape,
        classes=info.classes,
        noise=revive("noise", made["noise"]),
        dataset=dataset,
        warnings=tuple(line for lines in carried_warnings(record).values() for line in lines),
        made=made,
    )


def named_results(path: str | Path) -> PipelineModel:
    """`from_results` of a file that a person named, which may be one of their own: no message asks to delete it."""
    if Path(path).is_file() and not is_ours(path):
        raise ArtefactError(
            f"{path}: is not a model file of the pipeline, or is damaged; name one such as results/train/.../model.safetensors"
        )
    return from_results(path)


def from_checkpoint(
    path: str | Path,
    model: str | ModelSpec,
    *,
    info: DataInfo | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    test: Split | None = None,
    noise: NoiseSpec | None = None,
    seed: int = 0,
    **options: Any,
) -> Brought:
    """The network of a checkpoint made elsewhere. Nothing in the file is run.

    model, options (mean, sd, weights, outputs, leave_out): see `load_checkpoint`. info: of the data, whose normalisation is
    used with a model specification where the file stores none. shape: of the images, where `info` is not known. test, noise:
    labelled images and the noise to come; with both, the doctor looks at the model as in an import and its warnings stand in
    `warnings`.
    Raises `ArtefactError` for files that cannot be read or do not fit, ValueError for names and numbers that cannot be.
    """
    from certflow.models.examination import examine
    from certflow.models.published import load_checkpoint, load_weights, named

    if not os.path.exists(path):
        raise ArtefactError(f"{path}: is not there; name a file of weights")
    spec = named(model) if isinstance(model, str) else model
    if isinstance(model, str) or info is None:
        network = load_checkpoint(path, model, classes=classes, shape=shape if info is None else info.shape, **options)
    else:
        network = load_weights(path, spec, info, classes=classes, **options).module
    found = None
    if test is not None and noise is not None:
        network, found = examine(path, options, spec, _seen(network, info, classes, test), test, noise, seed)
    return Brought(
        model=network,
        source="checkpoint",
        name=str(path),
        digest=digest([file_digest(path), spec.canonical(), {name: value for name, value in options.items() if value}]),
        shape=None if info is None else info.shape,
        classes=classes,
        inference=spec.inference,
        warnings=tuple(found.warnings) if found else (),
        examination=found,
    )


def from_folder(name: str, spec: ModelSpec, info: DataInfo) -> Brought:
    """The classifier of a folder that transformers wrote, with the weights and the normalisation that lie there.

    name: the folder's. spec: names it, too. Raises `ArtefactError` for folders that do not fit the images, ValueError where
    transformers is not installed.
    """
    network = build(spec, info).eval()
    if spec.normalise == "dataset":
        network[0] = Normalise(*normalisation(name, info.shape[0]))
    return Brought(
        model=network,
        source="checkpoint",
        name=name,
        digest=digest([spec.canonical(), *map(file_digest, spec.files())]),
        shape=info.shape,
        classes=info.classes,
        inference=spec.inference,
    )


def from_onnx(path: str | Path, device: str = "cpu", seconds: float | None = None) -> Brought:
    """The network of an ONNX file; see `certflow.doors.onnx.OnnxModel`."""
    from certflow.doors.onnx import OnnxModel

    model = OnnxModel(path, device, seconds)
    return Brought(
        model=model,
        source="onnx",
        name=str(path),
        digest=file_digest(path),
        shape=model.shape,
        classes=model.classes,
        inference=Inference(fold=False),
    )


def behind(brought: Brought, spec: "DenoiserSpec", shape: tuple[int, ...], sigma: float) -> Brought:
    """The model behind a denoiser whose noise level is fixed to `sigma`.

    spec: with weights. Where it does not say which noise levels they are for, they are taken to be for this one. Errors as in
    `make_denoiser`; ValueError for models that are not torch modules.
    """
    from certflow.denoising.composed import DenoiseThenClassify
    from certflow.denoising.making import make_denoiser

    classifier = _module(brought)
    level = {"sigma_range": (sigma, sigma)} if spec.range() is None else {}
    settings = spec.model_dump(exclude={"kind"}, exclude_unset=True) | level
    denoiser = make_denoiser(spec.kind, shape, sigma, **settings)
    files = [file_digest(path) for path in spec.files()]
    identity = digest([brought.digest, spec.canonical(), files, sigma])
    return replace(brought, model=DenoiseThenClassify(denoiser, classifier), digest=identity)


def behind_denoiser_of(brought: Brought, other: PipelineModel) -> Brought:
    """The model behind the denoiser of another one, which was given its noise level; to be sampled under that one's noise.

    Both take images of one shape. ValueError where `other` has no denoiser, `brought` has one of its own or is not a torch
    module, or the shapes differ.
    """
    from certflow.denoising.composed import DenoiseThenClassify, denoiser_of

    composed = other.model
    if not isinstance(composed, DenoiseThenClassify) or denoiser_of(composed) is None:
        raise ValueError(f"{other.name}: has no denoiser; name a model that was trained behind one")
    classifier = _module(brought)
    if denoiser_of(classifier) is not None:
        raise ValueError(f"{brought.name}: has a denoiser of its own; name a classifier alone")
    if brought.shape is not None and brought.shape != other.shape:
        shapes = " and ".join("x".join(map(str, shape)) for shape in (brought.shape, other.shape))
        raise ValueError(f"{brought.name} and {other.name}: take images of different shapes ({shapes})")
    model = DenoiseThenClassify(denoiser_of(composed), classifier, clamp=composed.clamp)
    identity = digest([brought.digest, "denoiser of", other.digest])
    warnings = (*brought.warnings, *other.warnings)
    return replace(brought, model=model, digest=identity, shape=other.shape, noise=other.noise, warnings=warnings)


def _module(brought: Brought) -> torch.nn.Module:
    """The model that a denoiser is put before; ValueError for what is not a torch module."""
    if not isinstance(brought.model, torch.nn.Module):
        raise ValueError(f"{brought.name}: a denoiser needs a torch module behind it; put it into the model itself")
    return brought.model


def _seen(network: torch.nn.Sequential, info: DataInfo | None, classes: int | None, test: Split) -> DataInfo:
    """The images as the doctor is to take them: normalised as by the network, which was loaded already. ValueError where it
    cannot be called on them."""
    from certflow.models.normalise import normalisation
    from certflow.models.published import numbers_of
    from certflow.sampling.form import doing
    from certflow.sampling.probing import run

    shape = test.read(np.array([0])).shape[1:] if info is None else info.shape
    layer = normalisation(network)
    mean, sd = (numbers_of(values) for values in (layer.mean, layer.sd))
    x = torch.zeros(1, *shape)
    logits = run(network, x, doing(x.dtype, x))
    return DataInfo(classes=classes or logits.shape[1], shape=tuple(shape), mean=mean, sd=sd)
