"""Knowledge continuity as stages of the pipeline: a model's features at random points, and the tables of its layers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from certflow.data.base import DatasetSpec, Split
from certflow.data.items import network_input
from certflow.data.store import open_split
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, write_arrays, write_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import without
from certflow.knowledge.features import Features, extract
from certflow.knowledge.measure import certificate_table, volatility_table
from certflow.knowledge.settings import LOGITS, Extracted, Measured
from certflow.machine.naming import device_name
from certflow.models.header import carried_warnings, read_header
from certflow.noise.base import Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.noise.variates import philox_words
from certflow.sampling.origin import checked_origin

FEATURES, VOLATILITY, CERTIFICATE = "features", "volatility", "knowledge certificate"
"""Formats of the three files."""
LAYER = "layer "
"""What the name of a layer's array begins with."""
SPLIT = "test"
BATCH = 256
"""Points that pass through the network at one time: the same on every machine."""


def extract_features(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    features: str | Path,
    device: Any,
) -> None:
    """Write what every layer of a model gives at random points of the test split. spec: `Study.features_spec`.

    The network is the one that was trained, in float32, whatever the precision that it is sampled with.
    """
    wanted, noise = Extracted.model_validate(spec["features"]), revive("noise", spec["noise"])
    module, record = spec_class("method", spec["method"]["kind"]).load(model, spec, dataset.info())
    weights, data = read_header(model)[1], checked_origin(model, record, spec, manifest)
    split = open_split(dataset, manifest, SPLIT)
    idx = random_order(len(split), wanted.seed)[: wanted.points]
    noisy = wanted.noisy(noise.sigma)
    points = _batches(split, idx, device, noise if noisy else None, wanted.seed)
    found = _named(model, extract, module.to(device), points, wanted.layers, wanted.reduce)
    layers = {LAYER + name: z for name, z in found.z.items() if name != LOGITS}
    made = Provenance(
        format=FEATURES,
        spec=spec,
        parents={"model": weights, "data": data},
        device=device_name(torch.device(device)),
        notes={"points": len(idx), "noisy": noisy, **carried_warnings(record)},
    )
    write_arrays(features, {"idx": idx, "label": found.labels, "logits": found.logits, **layers}, made)


def random_order(total: int, seed: int) -> np.ndarray:
    """int64 [total]: all positions of a split in a random order, by the seed alone; ties of the 64-bit keys by position."""
    words = philox_words(np.arange(total), seed=seed, stream=Stream.KNOWLEDGE)
    return np.argsort((words[:, 0] << np.uint64(32)) | words[:, 1], kind="stable")


def _batches(
    split: Split, idx: np.ndarray, device: Any, noise: NoiseSpec | None, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What the network takes of the points at `idx`, with their labels. noise: of which one copy of each is taken."""
    for start in range(0, len(idx), BATCH):
        rows = idx[start : start + BATCH]
        x = network_input(torch.from_numpy(np.ascontiguousarray(split.read(rows))).to(device))
        if noise is not None:
            image = torch.from_numpy(rows).to(device)
            x = noise.copies(x, Key.of(image, 0, seed=seed, stream=Stream.KNOWLEDGE_COPIES))
        yield x, torch.from_numpy(split.labels[rows])


def measure_knowledge(
    spec: Mapping[str, Any], *, features: str | Path, volatility: str | Path, certificate: str | Path
) -> None:
    """Write the two tables of a model's layers. spec: `Study.knowledge_spec`."""
    found, record = read_features(features, without(spec, "measured"))
    wanted = Measured.model_validate(spec["measured"])
    parents = {"features": record.digest, "model": record.parents["model"]}
    for path, form, table in (
        (volatility, VOLATILITY, volatility_table),
        (certificate, CERTIFICATE, certificate_table),
    ):
        made = Provenance(format=form, spec=spec, parents=parents, device=record.device, notes=record.notes)
        write_table(path, _named(features, table, found, wanted), made)


def read_features(path: str | Path, spec: Mapping[str, Any]) -> tuple[Features, Provenance]:
    """What `extract_features` wrote; `ArtefactError` where it is damaged, or of another specification."""
    arrays, record = read_arrays(path, format=FEATURES, spec=spec)
    layers = {name.removeprefix(LAYER): z for name, z in arrays.items() if name.startswith(LAYER)}
    return Features({**layers, LOGITS: arrays["logits"]}, arrays["logits"], arrays["label"]), record


def _named(path: str | Path, function: Any, *given: Any) -> Any:
    """The function's result; what it refuses is refused with the file's name."""
    try:
        return function(*given)
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}; change the `knowledge` entry or the model") from None
