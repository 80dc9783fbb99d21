"""The plan: for every image its class and its number of fresh draws, fixed before any of them is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, read_table, write_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive
from certflow.kinds.spec import digest, without
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec
from certflow.sampling.counts import count_of, largest_other_count

if TYPE_CHECKING:
    import pandas as pd


def write_plan(spec: Mapping[str, Any], *, counts: str | Path, plan: str | Path) -> None:
    """Write the plan that the sampler of `spec` (`Study.counts_spec`) makes from stage-1 counts, which must be of that spec.

    Columns: those of `plan_rows`.
    """
    arrays, record = read_arrays(counts, format="presample", spec=without(spec, "sampler"))
    noise, sampler = revive("noise", spec["noise"]), revive("sampler", spec["sampler"])
    dim = revive("dataset", spec["dataset"]).info().dim
    table = plan_rows(sampler, noise, dim, arrays["idx"], arrays["label"], arrays["counts"], arrays["seconds"])
    facts = sampler.planned(plan_columns(table), noise, dim).facts
    parents = {"presample": record.digest, **record.parents}
    write_table(plan, table, Provenance(format="plan", spec=spec, parents=parents, notes=record.notes, facts=facts))


def plan_rows(
    sampler: SamplerSpec,
    noise: NoiseSpec,
    dim: int,
    index: np.ndarray,
    label: np.ndarray,
    counts: np.ndarray,
    seconds: np.ndarray,
) -> "pd.DataFrame":
    """What a sampler plans for images of `dim` coordinates, one row each, from their stage-1 counts int64 [images, classes].

    Columns: idx, label, selected (the class to certify), k0 (its stage-1 count), k0_other (the largest of any other class), n0,
    n (stage-2 draws; 0 = abstain unsampled), seconds0 (of stage 1), and whatever else the sampler writes.
    """
    import pandas as pd

    columns = sampler.plan(counts, noise, dim)
    if sampler.judges_label:
        columns = {**columns, "selected": label.astype(np.int64), "k0": count_of(counts, label)}
    return pd.DataFrame(
        {
            "idx": index,
            "label": label,
            "selected": columns["selected"],
            "k0": columns["k0"],
            "k0_other": largest_other_count(counts, columns["selected"]),
            "n0": counts.sum(axis=1),
            "n": columns["n"],
            "seconds0": seconds,
            **{name: values for name, values in columns.items() if name not in ("selected", "k0", "n")},
        }
    )


def plan_columns(rows: "pd.DataFrame") -> dict[str, np.ndarray]:
    """The columns of a plan by name."""
    return {name: rows[name].to_numpy() for name in rows}


@dataclass(frozen=True)
class Plan:
    """A plan as its readers take it: `rows` (one per image), and the record of what it was made from."""

    path: str | Path
    rows: "pd.DataFrame"
    record: Provenance

    @cached_property
    def sampler(self) -> SamplerSpec:
        """The sampler that made it."""
        return revive("sampler", self.record.spec["sampler"])

    @cached_property
    def noise(self) -> NoiseSpec:
        """The noise that it was made for."""
        return revive("noise", self.record.spec["noise"])

    @cached_property
    def dim(self) -> int:
        """Number of coordinates of an image."""
        return revive("dataset", self.record.spec["dataset"]).info().dim

    @cached_property
    def measurements(self) -> list[Measurement]:
        """What stage 2 draws for all images."""
        images = PlannedImages(plan_columns(self.rows), self.noise, self.dim, self.record.facts)
        return self.sampler.measurements(images)

    @cached_property
    def parents(self) -> dict[str, str]:
        """What counts record about the plan that they were made from: digests of its record, and of what stage 2 reads of it.

        The record alone is not enough: a plan that is made again from stage-1 counts of another device has the same record.
        Two things are left out. The times of stage 1 differ from run to run. The class to be certified matters to a stopping
        rule only: without one stage 2 does not know it, and the counts serve whichever class stage 1 selected.
        """
        draws = {measurement.name: measurement.planned() for measurement in self.measurements}
        return {"plan": self.record.digest, "told": digest({"idx": self.rows["idx"].tolist(), **draws})}

    def require(self, path: str | Path, counted: Provenance) -> None:
        """ArtefactError unless the counts at `path`, recorded as `counted`, were drawn as this plan says."""
        counted.require(path, format=counted.format, parents={**counted.parents, "plan": self.parents["plan"]})
        if counted.parents.get("told") != self.parents["told"]:
            raise ArtefactError(
                f"{path}: was counted under another plan than {self.path} is now (one of other images, draws, parameters or "
                f"classes to watch); delete it and run again"
            )


def read_plan(path: str | Path, spec: Mapping[str, Any]) -> Plan:
    """The plan that `write_plan` wrote to `path`; `ArtefactError` if it was made from another spec (`Study.counts_spec`)."""
    return Plan(path, *read_table(path, format="plan", spec=spec))


def shard_bounds(draws: np.ndarray, shards: int) -> np.ndarray:
    """Boundaries, int64 [shards + 1], that cut images into consecutive shards of about equally many draws.

    draws: int64 [images]. Every image lies in exactly one shard; a shard may be empty.
    """
    if shards < 1:
        raise ValueError(f"shards: must be at least 1, got {shards}")
    done = np.concatenate([[0], np.cumsum(draws, dtype=np.int64)])
    goals = done[-1] * np.arange(shards + 1, dtype=np.float64) / shards
    bounds = np.searchsorted(done, goals, side="left").astype(np.int64)
    bounds[0], bounds[-1] = 0, len(draws)
    return np.maximum.accumulate(bounds)
