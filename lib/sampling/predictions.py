"""Smoothed predictions as a stage: votes of a base classifier on every training image, shard by shard, then all together."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.artefact import Provenance, read_arrays, write_arrays
from lib.data.base import DatasetSpec
from lib.data.views import Views
from lib.errors import ArtefactError
from lib.noise.streams import Stream
from lib.sampling.base import Measurement
from lib.sampling.plan import shard_bounds
from lib.sampling.stage import open_setting, shard_number, write_measured
from lib.training.predictions import FORMAT, check_votes, compact, unusual

SHARD_FORMAT = "predictions shard"


def smooth_predictions(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    counts: str | Path,
    shard: str,
    device: Any,
) -> None:
    """Count n votes on each training image of one shard (`2-of-4`) and write them to `counts`. spec: `Study.predictions_spec`.

    Resumable like stage 2 of sampling: a killed job goes on from its last saved state and ends with the same counts. Images
    are read when their turn comes.
    """
    setting = open_setting(spec, dataset, manifest, model, device, "train")
    settings = spec["predictions"]
    if settings["augment"]:
        views = Views(setting.split, dataset.info().augmentation, setting.seed)
        setting = replace(setting, split=views)
    setting.notes["images"] = len(setting.split)
    number, shards = shard_number(shard)
    bounds = shard_bounds(np.full(len(setting.split), settings["n"], np.int64), shards)
    index = np.arange(bounds[number - 1], bounds[number], dtype=np.int64)
    draws = np.full(len(index), settings["n"], np.int64)
    warning = unusual(spec)
    if warning:
        print(f"note: {warning}", file=sys.stderr, flush=True)
    measurement = Measurement("counts", setting.noise, Stream.SMOOTHED_PREDICTIONS, draws)
    write_measured(setting, spec, SHARD_FORMAT, setting.parents, index, [measurement], counts)


def merge_predictions(*, shards: Sequence[str | Path], predictions: str | Path) -> None:
    """Write the counts of all training images, in their order, from the files of the shards.

    Arrays: `counts` [images, classes], unsigned and compact. Notes: `accuracy` (share of images whose most frequent class, the
    lowest on ties, is the label), `frequency` (mean frequency of the label) and `seconds` (of all shards together). The result
    is the same for any number of shards, but for the notes.
    """
    parts = [read_arrays(path, format=SHARD_FORMAT) for path in shards]
    first = parts[0][1]
    for path, (_, record) in zip(shards, parts, strict=True):
        record.require(path, format=SHARD_FORMAT, spec=first.spec, parents=first.parents)
        if record.notes != first.notes:
            raise ArtefactError(f"{path}: was made otherwise than {shards[0]}; delete both and run again")
    merged = {
        name: np.concatenate([arrays[name] for arrays, _ in parts]) for name in ("idx", "label", "counts", "seconds")
    }
    order = np.argsort(merged["idx"], kind="stable")
    if not np.array_equal(merged["idx"][order], np.arange(first.notes["images"])):
        raise ArtefactError(
            f"{predictions}: its shards do not hold every training image once; delete them and run again"
        )
    counts, label, n = merged["counts"][order], merged["label"][order], first.spec["predictions"]["n"]
    check_votes(counts, n, predictions)
    notes = {
        **first.notes,
        "accuracy": float((counts.argmax(axis=1) == label).mean()),
        "frequency": float(counts[np.arange(len(label)), label].mean() / n),
        "seconds": round(float(merged["seconds"].sum()), 3),
    }
    print(f"{predictions}: right on {notes['accuracy']:.2%} of {len(label)} images", file=sys.stderr, flush=True)
    record = Provenance(format=FORMAT, spec=first.spec, parents=first.parents, device=first.device, notes=notes)
    write_arrays(predictions, {"counts": compact(counts, n)}, record)
