"""The one training loop: SGD on noisy images, interruptible at any moment, the same for every method."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from certflow.data.base import Augmentation, Split
from certflow.data.batches import batches
from certflow.files.attempts import note_attempt
from certflow.files.lock import exclusive
from certflow.files.parts import remove_parts
from certflow.machine.progress import progress
from certflow.noise.base import NoiseSpec
from certflow.training import evaluation
from certflow.training.base import MethodSpec
from certflow.training.checkpoint import Position, load_state, save_state
from certflow.training.log import LogFile, Row
from certflow.training.meter import Meter
from certflow.training.ranks import ALONE, Ranks
from certflow.training.stepper import Stepper, pieces

READ_EVERY = 50
"""Steps between two reads from the device: they show the loss, and find one that is no number."""
CHECKPOINT_SECONDS = 300.0
"""Seconds of work that a killed run may lose within an epoch."""
EPOCH_SECONDS = 1.0
"""A state younger than this is not stored again at the end of an epoch (epochs of tiny data take less)."""


@dataclass
class TrainingResult:
    """The log of a finished training: one row per epoch (columns of `certflow.training.log`), and facts found on the way."""

    rows: list[Row]
    notes: dict[str, Any] = field(default_factory=dict)


def train(
    method: MethodSpec,
    module: torch.nn.Module,
    train_split: Split,
    test_split: Split,
    *,
    noise: NoiseSpec,
    seed: int,
    device: str | torch.device = "cpu",
    augmentation: Augmentation = "none",
    resume: Path | None = None,
    digest: str = "",
    log: LogFile | Callable[[Row], None] | None = None,
    quiet: bool = False,
    description: str = "train",
    tables: Mapping[str, np.ndarray] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train `module` in place by `method` on images with `noise`, and evaluate it on noisy test images after each epoch.

    `module` maps [rows, channels, height, width] in [0,1] to logits [rows, classes]; it ends in eval mode on `device` with
    the weights of the last epoch (no selection on test images). Initial weights are the caller's (`seed_everything`).
    `augmentation` is the dataset's usual one, which `method.augmentation` may switch off. `tables` holds per-image arrays
    [len(train_split), ...] that the method asks for by name.

    `resume` is a file that is written at the end of each epoch and every `checkpoint_seconds`; a run that finds it, with
    the same `digest`, goes on from there and ends with the same bits as an uninterrupted one on the same device and number
    of threads. It is left in place: delete it once the model is stored. `log` is a table rewritten after each epoch, or
    a function called with each finished row. `ranks`: this process among several that call this function with equal
    arguments and train together (`certflow.training.parallel`); the first of them writes the files.

    Raises `NonFiniteError` with epoch and step when a loss is NaN or infinite, `BusyError` when another process writes
    `resume`, `ArtefactError` when a file cannot be written, `ValueError` for arguments that cannot work.
    """
    _check(method, noise, train_split, test_split, tables or {})
    device = torch.device(device)
    augmentation = augmentation if method.augmentation == "dataset" else "none"
    _check_ranks(method, ranks, min(len(train_split), len(test_split)))
    lock = exclusive(resume, "training") if resume is not None and ranks.writes else nullcontext()
    with lock as locked, torch.random.fork_rng([device] if device.type == "cuda" else []):
        loader = batches(
            train_split,
            device=device,
            batch=method.batch,
            seed=seed,
            augmentation=augmentation,
            rows=_rows(ranks, lambda images: pieces(images, method)),
        )
        stepper = Stepper(
            method,
            module.to(device),
            noise=noise,
            seed=seed,
            batches=len(loader),
            tables={name: torch.as_tensor(table, device=device) for name, table in (tables or {}).items()},
            ranks=ranks,
            images=len(train_split),
        )
        run = _Run(
            stepper=stepper,
            loader=loader,
            test=batches(
                test_split,
                device=device,
                batch=evaluation.BATCH,
                seed=seed,
                augmentation="none",
                shuffle=False,
                rows=_rows(ranks, lambda images: [slice(0, images)]),
            ),
            store=_Store(resume, digest, checkpoint_seconds, writes=ranks.writes, locked=bool(locked)),
            log=log if ranks.writes else None,
        )
        rows, start = run.finish(len(train_split), description, quiet or not ranks.writes)
        module.eval().to(memory_format=torch.contiguous_format)
        notes = _notes(method, module, device, start)
        return TrainingResult(rows, notes if ranks.world == 1 else {**notes, "processes": ranks.world})


def _check_ranks(method: MethodSpec, ranks: Ranks, images: int) -> None:
    if ranks.world > 1 and not method.parallel:
        raise ValueError(f"method {method.kind} does not train in several processes; give it one device")
    least = min(images, method.batch // (method.noises if method.splits else 1))
    if ranks.world > least:
        raise ValueError(
            f"{ranks.world} processes cannot share {least} images; give this training at most {least} devices"
        )


def _rows(ranks: Ranks, cut: Callable[[int], Iterable[slice]]) -> Callable[[int], torch.Tensor] | None:
    """Which rows of a batch that is worked on in the pieces `cut` makes are this process's; None for all."""
    return (lambda images: ranks.rows(cut(images))) if ranks.world > 1 else None


def _check(
    method: MethodSpec, noise: NoiseSpec, train_split: Split, test_split: Split, tables: Mapping[str, Any]
) -> None:
    if not method.trains:
        raise ValueError(f"method {method.kind} brings a finished model; it cannot be trained")
    for name, split in (("training", train_split), ("test", test_split)):
        if len(split) == 0:
            raise ValueError(f"the {name} split has no images")
    for problem in method.problems(noise):
        raise ValueError(f"method {method.kind}: {problem}")
    if method.splits and len(train_split) < method.noises:
        raise ValueError(
            f"the training split has {len(train_split)} images, too few to split into {method.noises} mini-batches"
        )
    if set(tables) != set(method.tables):
        raise ValueError(f"method {method.kind} needs the tables {sorted(method.tables)}, got {sorted(tables)}")
    for name, table in tables.items():
        if len(table) != len(train_split):
            raise ValueError(f"table {name}: has {len(table)} rows, the training split has {len(train_split)} images")


@dataclass
class _Store:
    """When and where the state of a run is stored; nowhere if `path` is None, and by one process only."""

    path: Path | None
    digest: str
    seconds: float
    writes: bool = True
    locked: bool = False
    saved_at: float = field(default_factory=time.monotonic)

    def load(self, stepper: Stepper) -> Position:
        found = load_state(self.path, self.digest, stepper.model, stepper.optimiser) if self.path is not None else None
        self.saved_at = time.monotonic()
        return found or Position()

    def due(self, seconds: float) -> bool:
        return self.path is not None and self.writes and time.monotonic() - self.saved_at >= seconds

    def save(self, stepper: Stepper, position: Position) -> None:
        if self.path is not None and self.writes:
            save_state(self.path, self.digest, stepper.model, stepper.optimiser, position)
            self.saved_at = time.monotonic()


@dataclass
class _Run:
    """A training under way: what it works on, and how far it has come."""

    stepper: Stepper
    loader: Any
    test: Any
    store: _Store
    log: LogFile | Callable[[Row], None] | None
    position: Position = field(default_factory=Position)

    def finish(self, images: int, description: str, quiet: bool) -> tuple[list[Row], tuple[int, int]]:
        """Go on from the stored state, or from the beginning, to the last epoch; also says where that was."""
        self.position = self.store.load(self.stepper)
        start, method = (self.position.epoch, self.position.batch), self.stepper.method
        if self.store.path is not None and self.store.writes:
            remove_parts(self.store.path, locked=self.store.locked)
            resumed = f"resumed in epoch {start[0]} after {start[1]} batches"
            note_attempt(self.store.path, resumed if start != (0, 0) else "began")
        if isinstance(self.log, LogFile) and self.position.rows:
            self.log.write(self.position.rows)  # there may be no epoch left to do it, and the old file may be gone
        done = start[0] * images + min(start[1] * method.batch, images)
        with progress(method.epochs * images, "img", description, initial=done, quiet=quiet) as bar:
            while self.position.epoch < method.epochs:
                self._epoch(bar)
        return self.position.rows, start

    def _epoch(self, bar) -> None:
        """The rest of the current epoch: training, evaluation, one row of the log, a stored state."""
        epoch, method = self.position.epoch, self.stepper.method
        meter = Meter(self.position.sums, method.extras)
        begun = time.monotonic() - meter.sums["seconds"]
        self.stepper.model.train()
        for batch in self.loader.epoch(epoch, self.position.batch):
            self.stepper.advance(batch, epoch, self.position.batch, meter)
            bar.update(self.stepper.size(self.position.batch))
            self.position.batch += 1
            due = self.store.due(self.store.seconds)
            if due or len(meter) >= READ_EVERY:
                meter.read(f"epoch {epoch}")
                _show(bar, epoch, meter)
            if due:
                meter.sums["seconds"] = time.monotonic() - begun
                self.position.sums = meter.sums
                self.store.save(self.stepper, self.position)
        meter.read(f"epoch {epoch}")
        trained = time.monotonic() - begun
        result = method.evaluate(
            self.stepper.model,
            self.test,
            self.stepper.law(epoch),
            seed=self.stepper.seed,
            epoch=epoch,
            ranks=self.stepper.ranks,
        )
        lr = self.stepper.learning_rate(epoch)
        self._finish_epoch(_row(epoch, time.monotonic() - begun, trained, lr, meter, result))
        _show(bar, epoch, meter)

    def _finish_epoch(self, row: Row) -> None:
        self.position = Position(epoch=row["epoch"] + 1, rows=[*self.position.rows, row])
        last = self.position.epoch == self.stepper.method.epochs
        if last or self.store.due(min(EPOCH_SECONDS, self.store.seconds)):
            self.store.save(self.stepper, self.position)
        if isinstance(self.log, LogFile):
            self.log.write(self.position.rows)
        elif self.log is not None:
            self.log(row)


def _notes(method: MethodSpec, module: torch.nn.Module, device: torch.device, start: tuple[int, int]) -> dict[str, Any]:
    arithmetic = {"float32_convolutions": torch.backends.cudnn.conv.fp32_precision} if device.type == "cuda" else {}
    return arithmetic | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": method.precision,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "resumed": list(start) if start != (0, 0) else None,
    }


def _row(epoch: int, seconds: float, trained: float, lr: float, meter: Meter, result: evaluation.Evaluation) -> Row:
    row = {
        "epoch": epoch,
        "seconds": round(seconds, 3),
        "lr": lr,
        "train_loss": meter.loss,
        **{f"train_{name}": meter.mean(name) for name in meter.reported},
        "test_loss": result.loss,
        "test_accuracy": result.accuracy,
        "images_per_second": round(meter.sums["images"] / max(trained, 1e-9), 1),
    }
    return row if result.top5 is None else {**row, "test_top5": result.top5}


def _show(bar, epoch: int, meter: Meter) -> None:
    accuracy = "" if meter.accuracy is None else f", accuracy {meter.accuracy:.3f}"
    bar.set_postfix_str(f"epoch {epoch}, loss {meter.loss:.4f}{accuracy}", refresh=False)
