"""Putting shards together: every planned image exactly once, every count where the plan wants it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.provenance import Provenance, circumstances
from certflow.sampling.base import Measurement
from certflow.sampling.counts import count_of
from certflow.sampling.plan import Plan, read_plan


def merge_counts(
    spec: Mapping[str, Any], *, shards: Sequence[str | Path], plan: str | Path, counts: str | Path
) -> None:
    """Write the counts of all planned images, in the plan's order, from the files of the shards.

    spec: `Study.counts_spec`, of which plan and shards must be.
    `seconds` of an image is the time of both its stages. The result is the same for any number of shards. The record names
    every device that shards were counted on and every version they were counted under, not those of this job.
    """
    planned = read_plan(plan, spec)
    rows = planned.rows
    records, parts = [], []
    for path in shards:
        arrays, record = read_arrays(path, format="shard", spec=spec)
        planned.require(path, record)
        if records and (record.parents, record.notes) != (records[0].parents, records[0].notes):
            raise ArtefactError(f"{path}: was made otherwise than {shards[0]}; delete both and run again")
        records.append(record)
        parts.append(arrays)
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "label"}
    order = matching(merged["idx"], rows["idx"].to_numpy(), plan)
    result = {name: values[order] for name, values in merged.items()}
    _complete(result, planned)
    result["seconds"] = result["seconds"] + rows["seconds0"].to_numpy()
    first = records[0]
    made = Provenance(format="counts", spec=spec, parents=first.parents, notes=first.notes, **circumstances(records))
    write_arrays(counts, result, made)


def _complete(result: Mapping[str, np.ndarray], planned: Plan) -> None:
    """Every measurement must have drawn what the plan wants, or what its stopping rule says it has drawn."""
    for measurement in planned.measurements:
        drawn = measurement.draws if measurement.rule is None else result["drawn"]
        wrong = (result[measurement.name].sum(axis=1) != drawn) | (drawn > measurement.draws)
        if wrong.any():
            raise ArtefactError(
                f"{planned.path}: image idx {result['idx'][wrong][0]}: its counts do not sum to n; delete the shards"
            )
        wrong = _misjudged(result, measurement)
        if wrong.any():
            raise ArtefactError(
                f"{planned.path}: image idx {result['idx'][wrong][0]}: was not decided by its stopping rule; delete the shards"
            )


def _misjudged(result: Mapping[str, np.ndarray], measurement: Measurement) -> np.ndarray:
    """bool [images]: which decisions the rule has no look for, would not leave as they are, looking at these counts, or
    cannot have come to on the way to them."""
    wrong, rule = np.zeros(len(result["idx"]), bool), measurement.rule
    if rule is None or measurement.selected is None:
        return wrong
    k = count_of(result[measurement.name], measurement.selected)
    look = np.searchsorted(rule.looks, result["drawn"]).clip(max=len(rule.looks) - 1)
    for number in np.unique(look):
        rows = np.flatnonzero(look == number)
        decided = result["decided"][rows]
        kept = rule.judge(number, k[rows], decided)[0] == decided
        wrong[rows] = (result["drawn"][rows] != rule.looks[number]) | ~kept | (decided > rule.most(number, k[rows]))
    return wrong


def matching(found: np.ndarray, wanted: np.ndarray, path: str | Path) -> np.ndarray:
    """Positions of the images `wanted` in `found`, those of all shards together. ArtefactError about the file at `path`, which
    wants them, where these are not the same images, each once."""
    order = np.argsort(found)
    if not np.array_equal(found[order], np.sort(wanted)):
        odd = (
            sorted(set(found.tolist()) ^ set(wanted.tolist())) or found[order][1:][np.diff(found[order]) == 0].tolist()
        )
        raise ArtefactError(
            f"{path}: the shards do not hold its images once each (first: idx {odd[0]}); delete the shards"
        )
    position = np.empty(len(wanted), np.int64)
    position[np.argsort(wanted)] = order
    return position
