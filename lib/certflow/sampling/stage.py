"""Sampling as stages of the pipeline: stage-1 counts of all images, stage-2 counts of one shard of the plan."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from certflow.data.base import DatasetSpec, Split
from certflow.data.corruptions.store import Corrupted
from certflow.errors import ArtefactError
from certflow.files.artefact import write_arrays
from certflow.files.lock import exclusive
from certflow.files.parts import remove_parts
from certflow.files.provenance import Provenance, differences
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import digest
from certflow.machine.naming import device_name
from certflow.models.header import carried_warnings, read_header
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling.base import Arithmetic, Measurement
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import Reader
from certflow.sampling.measuring import measure
from certflow.sampling.origin import Around, around, checked_origin
from certflow.sampling.plan import read_plan, shard_bounds
from certflow.sampling.precision import remark
from certflow.sampling.resume import Journal

SHARD = re.compile(r"(\d+)-of-(\d+)")
"""Snakemake's name of a scattered item, counted from 1."""


@dataclass(frozen=True)
class Setting:
    """What is sampled from."""

    base: BaseClassifier
    split: Split
    noise: NoiseSpec
    seed: int
    parents: dict[str, str]
    notes: dict[str, Any]
    arithmetic: Arithmetic = "float"

    def measure(self, measurement: Measurement, index: np.ndarray, journal: Journal) -> dict[str, np.ndarray]:
        """The arrays of one measurement of the images at `index` (positions in the split), and their `seconds`."""
        return measure(
            self.base,
            Reader(lambda rows: self.split.read(index[rows])),
            index,
            measurement,
            seed=self.seed,
            arithmetic=self.arithmetic,
            journal=journal,
            describe=self.split.describe,
        )


def presample_counts(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    counts: str | Path,
    device: Any,
    corrupted: Corrupted | None = None,
) -> None:
    """Stage 1: n0 draws of each chosen image, written to `counts`. spec: `Study.presample_spec`.

    corrupted: draw around corrupted copies of the chosen images instead, at every severity. With n0 = 0 nothing is drawn and
    the network is not loaded: the counts are zeros.
    """
    if spec["presample"]["n0"] == 0:
        return _write_no_counts(spec, dataset, manifest, model, counts, corrupted)
    images = around(dataset, manifest, spec["images"], corrupted)
    setting = open_setting(spec, dataset, manifest, model, device, images, spec["presample"]["arithmetic"])
    index = images.chosen(spec["images"], manifest)
    draws = np.full(len(index), spec["presample"]["n0"], np.int64)
    measurement = Measurement("counts", setting.noise, Stream.SELECTION, draws)
    write_measured(setting, spec, "presample", index, [measurement], counts)


def _write_no_counts(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    manifest: str | Path,
    model: str | Path,
    counts: str | Path,
    corrupted: Corrupted | None,
) -> None:
    """A first stage without draws: zeros for the chosen images, with the parents that counts would have."""
    record, weights = read_header(model)
    data = checked_origin(model, record, spec, manifest)
    found = around(dataset, manifest, spec["images"], corrupted)
    index = found.chosen(spec["images"], manifest)
    arrays = {
        "idx": index,
        "label": found.split.labels[index].astype(np.int64),
        "counts": np.zeros((len(index), dataset.info().classes), np.int64),
        "seconds": np.zeros(len(index)),
    }
    parents, notes = {"model": weights, "data": data, **found.parents}, {**carried_warnings(record), **found.notes}
    write_arrays(counts, arrays, Provenance(format="presample", spec=spec, parents=parents, notes=notes))


def sample_counts(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    plan: str | Path,
    counts: str | Path,
    shard: str,
    device: Any,
    corrupted: Corrupted | None = None,
) -> None:
    """Stage 2: the planned draws of one shard (`2-of-4`), fresh ones, written to `counts`. spec: `Study.counts_spec`.

    Refuses a plan of another spec, of other weights or images, or whose first stage was drawn under another precision.
    """
    planned = read_plan(plan, spec)
    record = planned.record
    images = around(dataset, manifest, spec["images"], corrupted)
    setting = open_setting(spec, dataset, manifest, model, device, images, planned.sampler.arithmetic)
    first_look = planned.sampler.n0 > 0  # else nothing was run that notes could be about
    wanted = {"parents": setting.parents, "notes": setting.notes if first_look else {}}
    found = {
        "parents": {key: record.parents.get(key) for key in setting.parents},
        "notes": record.notes if first_look else {},
    }
    if digest(found) != digest(wanted):
        # Notes (precision, folding) come from the stage-1 counts: a plan made from the same ones again would be refused again.
        it = (
            "it"
            if record.notes == setting.notes
            else "it and its stage-1 counts, the same path below results/presample,"
        )
        raise ArtefactError(
            f"{plan}: was made otherwise ({'; '.join(differences(found, wanted))}); delete {it} and run again"
        )
    number, shards = shard_number(shard)
    measurements = planned.measurements
    bounds = shard_bounds(np.sum([measurement.draws for measurement in measurements], axis=0), shards)
    part = slice(bounds[number - 1], bounds[number])
    index = planned.rows["idx"].to_numpy(np.int64)[part]
    setting = replace(setting, parents={**setting.parents, **planned.parents})
    write_measured(setting, spec, "shard", index, [measurement.part(part) for measurement in measurements], counts)


def open_setting(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    manifest: str | Path,
    model: str | Path,
    device: Any,
    images: Around,
    arithmetic: Arithmetic = "float",
) -> Setting:
    """The model, images and noise of a job, after checking that they belong together. spec: what `Study.sample_spec` has."""
    architecture, info = revive("model", spec["model"]), dataset.info()
    module, record = spec_class("method", spec["method"]["kind"]).load(model, spec, info)
    weights = read_header(model)[1]
    data = checked_origin(model, record, spec, manifest)
    base = BaseClassifier(module, architecture.inference, shape=info.shape, classes=info.classes, device=device)
    _say_what_precision_costs(base)
    noise = revive("noise", spec["noise"])
    return Setting(
        base=base,
        split=images.split,
        noise=noise,
        seed=spec["seed"],
        parents={"model": weights, "data": data, **images.parents},
        notes={**base.describe(), **noise.describe(info.dim), **carried_warnings(record), **images.notes},
        arithmetic=arithmetic,
    )


def _say_what_precision_costs(base: BaseClassifier) -> None:
    """A line in the job's log where another precision would be faster, or the stated one is slow; it changes no count."""
    exactly = "native" in base.form.done and base.precision == "float32"  # such convolutions take no other numbers
    if not (base.compiled or exactly):
        x = torch.linspace(0, 1, base.batch * math.prod(base.shape), device=base.device).reshape(-1, *base.shape)
        said = remark(base.precision, base.network, base.form.shown(x))
        if said:
            print(f"precision {base.precision}: {said}", file=sys.stderr)


def write_measured(
    setting: Setting,
    spec: Mapping[str, Any],
    format: str,
    index: np.ndarray,
    measurements: Sequence[Measurement],
    path: str | Path,
) -> None:
    """Count the images at `index` (positions in the split), write the result with its provenance, and forget the partial
    state, holding the lock all the while."""
    base, device = setting.base, device_name(setting.base.device)
    record = Provenance(format, spec, setting.parents, device=device, versions=base.versions, notes=setting.notes)
    job = {
        "made": record.digest,
        "notes": record.notes,
        "device": record.device,
        "versions": record.versions,
        "images": index.tolist(),
    }
    label = setting.split.labels[index].astype(np.int64)
    arrays = {"idx": index, "label": label, "seconds": np.zeros(len(index))}
    with exclusive(path, "sampling") as locked:
        remove_parts(path, locked=locked)
        journals = []
        for measurement in measurements:
            identity = {**job, "measurement": measurement.name, **measurement.planned()}
            name = f"{path}.partial" if measurement.name == "counts" else f"{path}.{measurement.name}.partial"
            journals.append(Journal(Path(name), digest(identity), locked=locked))
            found = setting.measure(measurement, index, journals[-1])
            arrays |= {**found, "seconds": arrays["seconds"] + found["seconds"]}
        write_arrays(path, arrays, record)
        for journal in journals:
            journal.remove()


def shard_number(name: str) -> tuple[int, int]:
    """(number from 1, of how many) from `2-of-4`."""
    match = SHARD.fullmatch(name)
    number, shards = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= shards:
        raise ValueError(f"shard must be named like 2-of-4, got {name!r}")
    return number, shards
