"""Training as a stage of the pipeline: from a prepared dataset to a stored model and its log."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certflow.data.base import DatasetSpec
from certflow.data.store import content_digest, open_split
from certflow.files.artefact import Provenance
from certflow.files.attempts import finish_attempts
from certflow.files.contents import require_contents
from certflow.kinds.registry import revive
from certflow.kinds.spec import digest
from certflow.machine.naming import device_name
from certflow.models import build, save_model
from certflow.models.starting import start_from
from certflow.training.base import MethodSpec
from certflow.training.log import LOG_FORMAT, LogFile
from certflow.training.loop import train
from certflow.training.parallel import run_parallel
from certflow.training.ranks import ALONE, Ranks
from certflow.training.seeding import seed_everything
from certflow.training.tables import read_tables


def train_model(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: MethodSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    log: str | Path,
    device: Any,
    description: str = "train",
    tables: Mapping[str, str | Path] | None = None,
    checkpoint: str | Path | None = None,
) -> None:
    """Train the model that `spec` describes and write it to `model`, its log to `log`.

    spec: `Study.model_spec`. tables: the file of each table that the method reads, made as `spec` says. checkpoint: the
    file that training starts from, where the method names one. The state of an interrupted run lies beside `model` as
    `resume.pt`, bound to the spec and to the content of what it reads; it is removed once the model is stored. device: a torch
    device, or a list of several that share the work.
    """
    if bool(spec.get("fine_tuned")) != (checkpoint is not None):
        raise ValueError("a checkpoint to start from is given if and only if the specification says fine_tuned")
    arguments = {
        "spec": spec,
        "dataset": dataset,
        "method": method,
        "manifest": manifest,
        "model": model,
        "log": log,
        "description": description,
        "tables": dict(tables or {}),
        "checkpoint": checkpoint,
    }
    devices = list(device) if isinstance(device, list | tuple) else [device]
    if len(devices) == 1:
        _train_model(ranks=ALONE, device=devices[0], **arguments)
    else:
        run_parallel(_train_model, [str(name) for name in devices], arguments)


def _train_model(
    *,
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: MethodSpec,
    manifest: str | Path,
    model: str | Path,
    log: str | Path,
    description: str,
    tables: Mapping[str, str | Path],
    checkpoint: str | Path | None,
    device: Any,
    ranks: Ranks,
) -> None:
    """The part of one process."""
    info, seed = dataset.info(), spec["seed"]
    parents = {"data": content_digest(manifest)}
    split = open_split(dataset, manifest, "train")
    tables, made_from, warnings = read_tables(spec, tables, parents["data"], len(split), info.classes)
    parents |= made_from
    resume = Path(model).with_name("resume.pt")
    seed_everything(seed)
    architecture = revive("model", {"inference": {}, **spec["model"]})
    module, notes = build(architecture, info), {"warnings": warnings} if warnings else {}
    if checkpoint is not None:
        notes["start"] = start_from(module, checkpoint, architecture, info)
        parents["start"] = notes["start"].pop("sha256")
        require_contents(spec, {"start": parents["start"]})
    record = Provenance(format="model", spec=spec, parents=parents, device=device_name(device))
    result = train(
        method,
        module,
        split,
        open_split(dataset, manifest, "test"),
        noise=revive("noise", spec["noise"]),
        seed=seed,
        device=device,
        augmentation=info.augmentation,
        resume=resume,
        digest=digest({"spec": spec, "parents": parents}),
        log=LogFile(Path(log), replace(record, format=LOG_FORMAT)),
        description=description,
        tables=tables,
        ranks=ranks,
    )
    if not ranks.writes:
        return
    save_model(model, module, replace(record, notes=notes | result.notes))
    resume.unlink(missing_ok=True)
    finish_attempts(resume)
