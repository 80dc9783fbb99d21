"""The one training loop: SGD on noisy images, interruptible at any moment, the same for every method."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.data.base import Augmentation, Split
from lib.data.batches import batches
from lib.lock import exclusive
from lib.noise.base import NoiseSpec
from lib.progress import progress
from lib.training import evaluation
from lib.training.base import MethodSpec
from lib.training.batch import Batch
from lib.training.checkpoint import Position, load_state, save_state
from lib.training.log import Row, write_rows
from lib.training.meter import Meter
from lib.training.seeding import seed_batch

READ_EVERY = 50
"""Steps between two reads from the device: they show the loss, and find one that is no number."""
CHECKPOINT_SECONDS = 300.0
"""Seconds of work that a killed run may lose within an epoch."""
EPOCH_SECONDS = 1.0
"""A state younger than this is not stored again at the end of an epoch (epochs of tiny data take less)."""


@dataclass
class TrainingResult:
    """The log of a finished training: one row per epoch (columns of `lib.training.log`), and facts found on the way."""

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
    log: Path | Callable[[Row], None] | None = None,
    quiet: bool = False,
    description: str = "train",
    tables: Mapping[str, np.ndarray] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainingResult:
    """Train `module` in place by `method` on images with `noise`, and evaluate it on noisy test images after each epoch.

    `module` maps [rows, channels, height, width] in [0,1] to logits [rows, classes]; it ends in eval mode on `device` with
    the weights of the last epoch (no selection on test images). Initial weights are the caller's (`seed_everything`).
    `augmentation` is the dataset's usual one, which `method.augmentation` may switch off. `tables` holds per-image arrays
    [len(train_split), ...] that the method asks for by name.

    `resume` is a file that is written at the end of each epoch and every `checkpoint_seconds`; a run that finds it, with
    the same `digest`, goes on from there and ends with the same bits as an uninterrupted one on the same device and number
    of threads. It is left in place: delete it once the model is stored. `log` is a TSV file rewritten after each epoch, or
    a function called with each finished row.

    Raises `NonFiniteError` with epoch and step when a loss is NaN or infinite, `BusyError` when another process writes
    `resume`, `ArtefactError` when a file cannot be written, `ValueError` for arguments that cannot work.
    """
    _check(method, train_split, test_split, tables or {})
    device = torch.device(device)
    lock = exclusive(resume, "training") if resume is not None else nullcontext()
    with lock, torch.random.fork_rng([device] if device.type == "cuda" else []):
        run = _Run(
            method=method,
            model=module.to(device, memory_format=torch.channels_last),
            noise=noise,
            seed=seed,
            device=device,
            tables={name: torch.as_tensor(table, device=device) for name, table in (tables or {}).items()},
            resume=resume,
            digest=digest,
            log=log,
            checkpoint_seconds=checkpoint_seconds,
        )
        augmentation = augmentation if method.augmentation == "dataset" else "none"
        run.batches = batches(train_split, device=device, batch=method.batch, seed=seed, augmentation=augmentation)
        run.test = batches(
            test_split, device=device, batch=evaluation.BATCH, seed=seed, augmentation="none", shuffle=False
        )
        return run.finish(len(train_split), description, quiet)


def _check(method: MethodSpec, train_split: Split, test_split: Split, tables: Mapping[str, Any]) -> None:
    if not method.trains:
        raise ValueError(f"method {method.kind} brings a finished model; it cannot be trained")
    for name, split in (("training", train_split), ("test", test_split)):
        if len(split) == 0:
            raise ValueError(f"the {name} split has no images")
    if set(tables) != set(method.tables):
        raise ValueError(f"method {method.kind} needs the tables {sorted(method.tables)}, got {sorted(tables)}")
    for name, table in tables.items():
        if len(table) != len(train_split):
            raise ValueError(f"table {name}: has {len(table)} rows, the training split has {len(train_split)} images")


def pieces(images: int, method: MethodSpec) -> Iterator[slice]:
    """The mini-batches of a loader batch: one, or `noises` of ⌊images/noises⌋ images each when the method splits.

    The images left over by the division are skipped, as in the field's code, and so are mini-batches of no image.
    """
    count = method.noises if method.splits else 1
    size = images // count
    for number in range(count if size else 0):
        yield slice(number * size, (number + 1) * size)


@dataclass
class _Run:
    """A training under way: what it works on, and how far it has come."""

    method: MethodSpec
    model: torch.nn.Module
    noise: NoiseSpec
    seed: int
    device: torch.device
    tables: Mapping[str, torch.Tensor]
    resume: Path | None
    digest: str
    log: Path | Callable[[Row], None] | None
    checkpoint_seconds: float
    batches: Any = None
    test: Any = None
    position: Position = field(default_factory=Position)
    saved_at: float = 0.0

    def __post_init__(self):
        self.optimiser = torch.optim.SGD(
            self.model.parameters(),
            lr=self.method.lr,
            momentum=self.method.momentum,
            nesterov=self.method.nesterov,
            weight_decay=self.method.weight_decay,
            fused=True,
        )

    def finish(self, images: int, description: str, quiet: bool) -> TrainingResult:
        """Go on from the resume file, or from the beginning, to the last epoch."""
        if self.resume is not None:
            self.position = load_state(self.resume, self.digest, self.model, self.optimiser) or self.position
        start, self.saved_at = (self.position.epoch, self.position.batch), time.monotonic()
        if start != (0, 0):
            print(f"{self.resume}: resumed in epoch {start[0]} after {start[1]} batches", file=sys.stderr, flush=True)
        done = start[0] * images + min(start[1] * self.method.batch, images)
        with progress(self.method.epochs * images, "img", description, initial=done, quiet=quiet) as bar:
            while self.position.epoch < self.method.epochs:
                self._epoch(bar)
        self.model.eval().to(memory_format=torch.contiguous_format)
        return TrainingResult(self.position.rows, self._notes(start))

    def _epoch(self, bar) -> None:
        """The rest of the current epoch: training, evaluation, one row of the log, a stored state."""
        started, epoch = time.monotonic(), self.position.epoch
        meter = Meter(self.position.sums)
        earlier = meter.sums["seconds"]
        self.model.train()
        for batch in islice(self.batches.epoch(epoch), self.position.batch, None):
            self._batch(batch, meter)
            self.position.batch += 1
            bar.update(len(batch[0]))
            if len(meter) >= READ_EVERY:
                meter.read(f"epoch {epoch}")
                _show(bar, epoch, meter)
            if self._due(self.checkpoint_seconds):
                meter.read(f"epoch {epoch}")
                meter.sums["seconds"] = earlier + time.monotonic() - started
                self.position.sums = meter.sums
                self._save()
        meter.read(f"epoch {epoch}")
        trained = earlier + time.monotonic() - started
        result = evaluation.evaluate(
            self.model, self.test, self.noise, seed=self.seed, epoch=epoch, precision=self.method.precision
        )
        seconds = earlier + time.monotonic() - started
        self._finish_epoch(_row(epoch, seconds, trained, self.optimiser.param_groups[0]["lr"], meter, result))
        _show(bar, epoch, meter)

    def _batch(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], meter: Meter) -> None:
        """One loader batch: an optimiser step on each of its mini-batches. Nothing here waits for the device."""
        index, x, y = batch
        epoch, number = self.position.epoch, self.position.batch
        seed_batch(self.seed, epoch, number)
        count = self.method.noises if self.method.splits else 1
        for part, piece in enumerate(pieces(len(y), self.method)):
            lr = self.method.learning_rate(epoch, number * count + part, len(self.batches) * count)
            self.optimiser.param_groups[0]["lr"] = lr
            self.optimiser.zero_grad(set_to_none=True)
            mini = Batch(
                model=self.model,
                x=x[piece],
                y=y[piece],
                index=index[piece],
                noise_spec=self.noise,
                seed=self.seed,
                epoch=epoch,
                epochs=self.method.epochs,
                precision=self.method.precision,
                tables=self.tables,
            )
            meter.add(len(mini.y), self.method.step(mini))
            self.optimiser.step()

    def _finish_epoch(self, row: Row) -> None:
        last = row["epoch"] + 1 == self.method.epochs
        self.position = Position(epoch=row["epoch"] + 1, rows=[*self.position.rows, row])
        if last or self._due(min(EPOCH_SECONDS, self.checkpoint_seconds)):
            self._save()
        if isinstance(self.log, Path):
            write_rows(self.log, self.position.rows)
        elif self.log is not None:
            self.log(row)

    def _due(self, seconds: float) -> bool:
        return self.resume is not None and time.monotonic() - self.saved_at >= seconds

    def _save(self) -> None:
        if self.resume is not None:
            save_state(self.resume, self.digest, self.model, self.optimiser, self.position)
            self.saved_at = time.monotonic()

    def _notes(self, start: tuple[int, int]) -> dict[str, Any]:
        return {
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "threads": torch.get_num_threads(),
            "precision": self.method.precision,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "resumed": list(start) if start != (0, 0) else None,
        }


def _row(epoch: int, seconds: float, trained: float, lr: float, meter: Meter, result: evaluation.Evaluation) -> Row:
    row = {
        "epoch": epoch,
        "seconds": round(seconds, 3),
        "lr": lr,
        "train_loss": meter.loss,
        "train_accuracy": meter.accuracy,
        "test_loss": result.loss,
        "test_accuracy": result.accuracy,
        "images_per_second": round(meter.sums["images"] / max(trained, 1e-9), 1),
    }
    return row if result.top5 is None else {**row, "test_top5": result.top5}


def _show(bar, epoch: int, meter: Meter) -> None:
    accuracy = "" if meter.accuracy is None else f", accuracy {meter.accuracy:.3f}"
    bar.set_postfix_str(f"epoch {epoch}, loss {meter.loss:.4f}{accuracy}", refresh=False)
