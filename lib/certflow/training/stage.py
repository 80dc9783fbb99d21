"""Making a model as a stage of the pipeline: assembled from what it is made from, trained if its method learns, stored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from certflow.data.base import DatasetSpec
from certflow.files.attempts import finish_attempts
from certflow.files.provenance import Provenance
from certflow.kinds.spec import digest
from certflow.machine.naming import device_name
from certflow.models import save_model
from certflow.noise.base import NoiseSpec
from certflow.training.assembly import Data, Files, Given, open_data
from certflow.training.base import MethodSpec
from certflow.training.log import LOG_FORMAT, LogFile
from certflow.training.loop import TrainingResult, train
from certflow.training.parallel import run_parallel
from certflow.training.ranks import ALONE, Ranks
from certflow.training.seeding import seed_everything
from certflow.training.tables import read_tables


@dataclass(frozen=True)
class Outputs:
    """Where a model and the log of its training are written; no log where nothing is trained."""

    model: str | Path
    log: str | Path | None = None

    @property
    def resume(self) -> Path:
        """The state of an interrupted training, beside the model."""
        return Path(self.model).with_name("resume.pt")

    def store(self, module: torch.nn.Module, record: Provenance) -> None:
        """Write the finished model, and remove what was kept for a training to go on."""
        save_model(self.model, module, record)
        self.resume.unlink(missing_ok=True)
        finish_attempts(self.resume)


def make_model(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: MethodSpec,
    *,
    manifest: str | Path,
    outputs: Outputs,
    device: Any,
    files: Files | None = None,
    description: str = "train",
) -> None:
    """Make the model that `spec` (`Study.model_spec`) describes by its method, and write it and the log of its training.

    The method assembles a network from `files`; if it learns, it is trained. The state of an interrupted run is bound to the
    spec and to the content of what was read; it is removed once the model is stored. device: a torch device, or a list of
    several that share a training.
    """
    arguments: dict[str, Any] = {
        "spec": spec,
        "dataset": dataset,
        "method": method,
        "manifest": manifest,
        "outputs": outputs,
        "files": files or Files(),
        "description": description,
    }
    devices = list(device) if isinstance(device, list | tuple) else [device]
    if len(devices) == 1 or not method.trained_here:
        _make_model(ranks=ALONE, device=devices[0], **arguments)
    else:
        run_parallel(_make_model, [str(name) for name in devices], arguments)


def _make_model(
    *,
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: MethodSpec,
    manifest: str | Path,
    outputs: Outputs,
    files: Files,
    description: str,
    device: Any,
    ranks: Ranks,
) -> None:
    """The part of one process."""
    data = open_data(dataset, manifest)
    given = Given(spec, data, files, device)
    tables, made_from, warnings = read_tables(spec, files.tables, data)
    seed_everything(given.seed)
    made = method.assemble(given)
    parents = {**made.parents, **made_from}
    record = Provenance(format="model", spec=spec, parents=parents, device=device_name(device), facts=made.facts)
    notes = dict(made.notes)
    if method.trained_here:
        work = {"noise": given.noise, "device": device, "description": description, "tables": tables, "ranks": ranks}
        learnt = learn(method, made.trainee or made.module, data, record, outputs, **work)
        notes, warnings = notes | learnt.notes, [*warnings, *learnt.warnings]
    if warnings:
        notes["warnings"] = warnings
    if ranks.writes:
        method.finish(made.module)
        notes |= method.examine(made.module, given, outputs.model)
        outputs.store(made.module, replace(record, notes=notes))


def learn(
    method: MethodSpec,
    trainee: torch.nn.Module,
    data: Data,
    record: Provenance,
    outputs: Outputs,
    *,
    noise: NoiseSpec,
    device: Any,
    description: str,
    tables: Mapping[str, np.ndarray] | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train a network in place, resumable, with a log beside it."""
    log = None if outputs.log is None else LogFile(Path(outputs.log), replace(record, format=LOG_FORMAT))
    return train(
        method,
        trainee,
        data.train,
        data.test,
        noise=noise,
        seed=record.spec["seed"],
        device=device,
        augmentation=data.info.augmentation,
        resume=outputs.resume,
        digest=digest({"spec": record.spec, "parents": record.parents}),
        log=log,
        description=description,
        tables=tables,
        ranks=ranks,
    )
