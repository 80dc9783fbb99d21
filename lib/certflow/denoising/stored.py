"""Denoise-then-classify networks from their files: the same bits, and given the same noise level, as when they were written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.denoiser import Denoiser
from certflow.errors import ArtefactError
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors
from certflow.kinds.registry import revive
from certflow.models.assemble import skeleton
from certflow.models.base import ModelSpec
from certflow.models.checkpoint import FORMAT
from certflow.models.fitting import fit
from certflow.models.normalise import Normalise

DENOISER = "denoiser"
"""Format of the file that holds the weights of a denoiser trained by itself."""


def load_denoised(
    path: str | Path, spec: Mapping[str, Any], info: DataInfo, /, **expected: Any
) -> tuple[DenoiseThenClassify, Provenance]:
    """The network that the method of kind `denoised` in `spec` wrote, in eval mode on the CPU, and its provenance.

    `expected` as in `certflow.models.load_model`. Raises `ArtefactError` for a file that is missing, damaged or altered, was
    made from another specification, does not fit the network, or was made for another noise level than the one of `spec`.
    """
    state, provenance = read_tensors(path, **{"format": FORMAT, **expected})
    condition, made_for = condition_of(spec), provenance.facts.get("condition")
    if made_for is not None and made_for != condition:
        raise ArtefactError(
            f"{path}: its denoiser was made for the noise level {made_for}, not {condition}; delete it and run again"
        )
    method = spec["method"]
    denoiser = None
    if method["denoiser"] is not None:
        denoiser = fresh(
            revive("denoiser", spec["parts"]["denoiser"]), info, condition, provenance.facts.get("denoiser")
        )
    classifier = skeleton(_architecture(spec), seen(info, method["resize"]))
    classifier[0] = Normalise.like(state.get("classifier.0.mean"), state.get("classifier.0.sd"))
    network = DenoiseThenClassify(denoiser, classifier, clamp=method["clamp"], resize=method["resize"])
    fit(network, state, path, exact=True)
    network.classifier.requires_grad_(False)
    return network.eval(), provenance


def _architecture(spec: Mapping[str, Any]) -> ModelSpec:
    """The entry that the classifier is a network of: that of the model it comes from, which may be another than the run's."""
    made_as = spec.get("parts", {}).get("classifier", spec)
    return revive("model", made_as["model"])


def fresh(
    spec: DenoiserSpec, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None
) -> Denoiser:
    """A denoiser for weights that are about to be loaded; torch's generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        return spec.build(info, condition, notes)


def condition_of(spec: Mapping[str, Any]) -> float:
    """The noise level that a denoiser is fixed to: that of the noise entry its method is made for."""
    return float(revive("noise", spec["noise"]).sigma)


def seen(info: DataInfo, resize: int | None) -> DataInfo:
    """What the data look like to a classifier that sees images of side `resize`."""
    return info if resize is None else replace(info, shape=(info.shape[0], resize, resize))
