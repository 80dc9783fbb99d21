"""Putting shards together: every planned image exactly once, every count where the plan wants it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.artefact import Provenance, read_arrays, read_table, write_arrays
from lib.errors import ArtefactError
from lib.registry import revive

if TYPE_CHECKING:
    import pandas as pd


def merge_counts(*, shards: Sequence[str | Path], plan: str | Path, counts: str | Path) -> None:
    """Write the counts of all planned images, in the plan's order, from the files of the shards.

    `seconds` of an image is the time of both its stages. The result is the same for any number of shards. The record names
    every device that shards were counted on: across devices counts are equal in law only.
    """
    rows, planned = read_table(plan, format="plan")
    records, parts = [], []
    for path in shards:
        arrays, record = read_arrays(path, format="shard")
        record.require(path, format="shard", parents={**record.parents, "plan": planned.digest})
        if records and (record.spec, record.parents, record.notes) != (
            records[0].spec,
            records[0].parents,
            records[0].notes,
        ):
            raise ArtefactError(f"{path}: was made otherwise than {shards[0]}; delete both and run again")
        records.append(record)
        parts.append(arrays)
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "label"}
    order = _matching(merged["idx"], rows["idx"].to_numpy(), plan)
    result = {name: values[order] for name, values in merged.items()}
    _complete(result, rows, planned, plan)
    result["seconds"] = result["seconds"] + rows["seconds0"].to_numpy()
    first, devices = records[0], "; ".join(sorted({record.device for record in records}))
    write_arrays(
        counts,
        result,
        Provenance(format="counts", spec=first.spec, parents=first.parents, device=devices, notes=first.notes),
    )


def _complete(result: Mapping[str, np.ndarray], rows: "pd.DataFrame", planned: Provenance, plan: str | Path) -> None:
    """Every measurement must have drawn what the plan wants, or what its stopping rule says it has drawn."""
    columns = {name: rows[name].to_numpy() for name in rows}
    sampler, noise = revive("sampler", planned.spec["sampler"]), revive("noise", planned.spec["noise"])
    for measurement in sampler.measurements(columns, noise):
        drawn = measurement.draws if measurement.rule is None else result["drawn"]
        wrong = (result[measurement.name].sum(axis=1) != drawn) | (drawn > measurement.draws)
        if wrong.any():
            raise ArtefactError(
                f"{plan}: image idx {result['idx'][wrong][0]}: its counts do not sum to n; delete the shards"
            )


def _matching(found: np.ndarray, wanted: np.ndarray, plan: str | Path) -> np.ndarray:
    """Positions in `found` of the images `wanted`, which must be the same images, each once."""
    order = np.argsort(found, kind="stable")
    if not np.array_equal(found[order], np.sort(wanted)):
        odd = (
            sorted(set(found.tolist()) ^ set(wanted.tolist())) or found[order][1:][np.diff(found[order]) == 0].tolist()
        )
        raise ArtefactError(
            f"{plan}: the shards do not hold its images once each (first: idx {odd[0]}); delete the shards"
        )
    position = np.empty(len(wanted), np.int64)
    position[np.argsort(wanted, kind="stable")] = order
    return position
