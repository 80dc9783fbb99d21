"""Putting shards of smoothed predictions together: every training image exactly once, n votes each."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.provenance import Provenance, circumstances
from certflow.sampling.merge import matching
from certflow.training.predictions import FORMAT, SHARD_FORMAT, check_votes, compact


def merge_predictions(spec: Mapping[str, Any], *, shards: Sequence[str | Path], predictions: str | Path) -> None:
    """Write the counts of all training images, in their order, from the files of the shards, which must be of `spec`
    (`Study.predictions_spec`).

    Arrays: `counts` [images, classes], unsigned and compact. Notes: `accuracy` (share of images whose most frequent class, the
    lowest on ties, is the label), `frequency` (mean frequency of the label) and `seconds` (of all shards together). The result
    is the same for any number of shards, but for the notes.
    """
    parts = [read_arrays(path, format=SHARD_FORMAT, spec=spec) for path in shards]
    first = parts[0][1]
    for path, (_, record) in zip(shards, parts, strict=True):
        record.require(path, format=SHARD_FORMAT, parents=first.parents)
        if record.notes != first.notes:
            raise ArtefactError(f"{path}: was made otherwise than {shards[0]}; delete both and run again")
    merged = {
        name: np.concatenate([arrays[name] for arrays, _ in parts]) for name in ("idx", "label", "counts", "seconds")
    }
    order = matching(merged["idx"], np.arange(first.notes["images"]), predictions)
    counts, label, n = merged["counts"][order], merged["label"][order], spec["predictions"]["n"]
    check_votes(counts, n, predictions)
    notes = {
        **first.notes,
        "accuracy": float((counts.argmax(axis=1) == label).mean()),
        "frequency": float(counts[np.arange(len(label)), label].mean() / n),
        "seconds": round(float(merged["seconds"].sum()), 3),
    }
    print(f"{predictions}: right on {notes['accuracy']:.2%} of {len(label)} images", file=sys.stderr)
    made = circumstances([record for _, record in parts])
    record = Provenance(format=FORMAT, spec=spec, parents=first.parents, notes=notes, **made)
    write_arrays(predictions, {"counts": compact(counts, n)}, record)
