"""From a certificate table back to the images and settings that it was made from, each file with its digest."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certflow.errors import CertflowError
from certflow.files import results
from certflow.files.artefact import read_arrays_record, read_provenance
from certflow.files.contents import content
from certflow.files.provenance import Provenance
from certflow.kinds.spec import digest
from certflow.report.chain import STAGES, chain_paths
from certflow.report.lines import SeedTable
from certflow.sampling.plan import read_plan


@dataclass(frozen=True)
class Step:
    """One file of the chain. `state` says whether the file that lies there now is the one that was used.

    `digest`: as the next stage recorded it. `spec`: what the file says it was made from, empty where it is not there.
    """

    what: str
    path: str
    digest: str
    state: str
    spec: dict[str, Any]


def trace(entry: SeedTable) -> list[Step]:
    """The chain of a certificate table, itself first: counts, plan, stage-1 counts, model, training log, images.

    The other files are looked for where the table's own path says that they are. A table from elsewhere has one step. A step
    whose file is gone keeps the digest that was recorded when it was used; one whose file was remade since is marked.
    """
    if entry.provenance is None:
        return [Step("table made elsewhere", str(entry.path), _file(entry.path), "as read", {})]
    record, paths = entry.provenance, chain_paths(entry.path)
    steps = [Step("certificate table", str(entry.path), record.digest, "as read", dict(record.spec))]
    recorded = dict(record.parents)
    for stage, key, read in _READERS:
        path = paths.get(stage)
        step, found = _step(STAGES[stage], path, recorded.get(key, ""), read)
        if stage == "plan" and path is not None and found is not None and step.state == "as used":
            step = replace(step, state=_as_planned(path, found, recorded))
        steps.append(step)
        if found is not None and step.state == "as used":
            recorded = {**found.parents, **recorded}
        if stage == "train" and path is not None and path.with_name("training.tsv").exists():
            steps.append(_log(path.with_name("training.tsv"), found))
        if stage == "train" and path is not None and found is not None:
            steps += _learnt_from(found, path)
    return steps


def _as_planned(path: Path, plan: Provenance, recorded: Mapping[str, str]) -> str:
    """The state of a plan of the right record: one that was remade may ask stage 2 for something else."""
    return "as used" if read_plan(path, plan.spec).parents["told"] == recorded.get("told") else "changed since"


def _log(path: Path, model: Provenance | None) -> Step:
    """The training log, which lies beside its model and in no line of descent: compared with what the model is made from."""
    if model is None:
        return Step("training log", str(path), _file(path), "as read", {})
    try:
        record = read_provenance(path)
    except CertflowError as error:
        return Step("training log", str(path), _file(path), f"unreadable: {error}", {})
    same = (record.spec, record.parents) == (model.spec, model.parents)
    return Step("training log", str(path), _file(path), "as used" if same else "changed since", dict(record.spec))


def _learnt_from(model: Provenance, path: Path) -> Iterator[Step]:
    """What a model was made from besides images: smoothed predictions, a checkpoint that its training started from."""
    if "start" in model.parents:
        file, wanted = model.notes["start"]["checkpoint"], model.parents["start"]
        found = _file(file)
        state = "as used" if found == wanted else "changed since" if found else "not here"
        yield Step("checkpoint started from", file, wanted, state, {})
    if "predictions" in model.parents:
        wanted = model.parents["predictions"]
        # The entry's name is not part of a model's specification: the file is known by its digest.
        entries = results.beside(path, results.WEIGHTS, results.VOTES, predictions="*")
        for file in [] if entries is None else sorted(entries.parent.glob(entries.name)):
            step, _ = _step("smoothed predictions", file, wanted, _arrays)
            if step.state == "as used":
                yield step
                return
        yield Step("smoothed predictions", "", wanted, "not here", {})


def _step(what: str, path: Path | None, wanted: str, read: Callable) -> tuple[Step, Provenance | None]:
    if path is None or not path.exists():
        return Step(what, "" if path is None else str(path), wanted, "not here" if wanted else "not stated", {}), None
    try:
        record, found = read(path)
    except CertflowError as error:
        return Step(what, str(path), wanted, f"unreadable: {error}", {}), None
    state = "as used" if found == wanted else "not stated" if not wanted else "changed since"
    return Step(what, str(path), wanted or found, state, dict(record.spec)), record


def _arrays(path: Path) -> tuple[Provenance, str]:
    record = read_arrays_record(path)
    return record, record.digest


def _table(path: Path) -> tuple[Provenance, str]:
    record = read_provenance(path)
    return record, record.digest


def _model(path: Path) -> tuple[Provenance, str]:
    """A model is identified by its weights: the same recipe may give others on another device."""
    from certflow.models.header import read_header

    return read_header(path)


def _manifest(path: Path) -> tuple[Provenance, str]:
    """Images are identified by their content: the digests of all splits together."""
    from certflow.data.store import read_manifest

    record = read_manifest(path)
    return record, digest(dict(record.parents))


def _file(path: str | Path) -> str:
    return content(path) or ""


_READERS: tuple[tuple[str, str, Callable], ...] = (
    ("sample", "counts", _arrays),
    ("plan", "plan", _table),
    ("presample", "presample", _arrays),
    ("train", "model", _model),
    ("data", "data", _manifest),
)
"""Folder of the stage, its key among the parents of a later one, and how to read its record."""
