"""A running training: its epochs, the state from which it can be resumed, its log."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError, NonFiniteError
from certflow.files.attempts import note_attempt
from certflow.files.parts import remove_parts
from certflow.files.tensorfile import tensors_digest
from certflow.kinds.spec import digest
from certflow.machine.progress import progress
from certflow.training.chance import no_better
from certflow.training.checkpoint import Position, load_state, resting_state, save_state
from certflow.training.evaluation import Evaluation
from certflow.training.log import LogFile, Row
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper

READ_EVERY = 50
"""Steps between two reads from the device: they show the loss, and find one that is not a number."""
EPOCH_SECONDS = 1.0
"""A state younger than this is not stored again at the end of an epoch (epochs of tiny data take less)."""


@dataclass
class Store:
    """When and where the state of a run is stored; nowhere if `path` is None, and by one process only."""

    path: Path | None
    digest: str
    seconds: float
    writes: bool = True
    locked: bool = False
    saved_at: float = field(default_factory=time.monotonic)

    def load(self, stepper: Stepper) -> Position:
        """Restore the stored state, if it belongs to this run and to the frozen parts of this network.

        Of several processes none goes on before all have read the state: the first soon replaces it, or removes it where no
        epoch is left. `ArtefactError` where they did not find the same one.
        """
        found = None
        if self.path is not None:
            resting = resting_state(stepper.model)
            if resting:
                self.digest = digest({"run": self.digest, "resting": tensors_digest(resting)})
            found = load_state(self.path, self.digest, stepper.model, stepper.optimiser)
        self.saved_at = time.monotonic()
        position = found or Position()
        device = next(stepper.model.parameters()).device
        places = stepper.ranks.gather((position.epoch, position.batch), device)
        if any(place != places[0] for place in places):
            seen = "; ".join(f"process {rank} {_place(*place)}" for rank, place in enumerate(places))
            raise ArtefactError(
                f"{self.path}: the processes of this training did not find the same state in it ({seen}); see that all of them "
                f"can read the file and run again, or delete it to begin anew"
            )
        return position

    def note(self, start: tuple[int, int]) -> None:
        """Remove what attempts before this one left half-written, and write down where this one goes on."""
        if self.path is not None and self.writes:
            remove_parts(self.path, locked=self.locked)
            note_attempt(self.path, _place(*start))

    def due(self, seconds: float) -> bool:
        """Whether the last state is at least this many seconds old."""
        return self.path is not None and self.writes and time.monotonic() - self.saved_at >= seconds

    def save(self, stepper: Stepper, position: Position) -> None:
        """Replace the stored state."""
        if self.path is not None and self.writes:
            save_state(self.path, self.digest, stepper.model, stepper.optimiser, position)
            self.saved_at = time.monotonic()


@dataclass
class Run:
    """A training under way: what it works on, and how far it has come."""

    stepper: Stepper
    loader: Any
    test: Any
    store: Store
    log: LogFile | Callable[[Row], None] | None
    chance: float
    """Accuracy on the noisy test set that says nothing (`certflow.training.chance`)."""
    position: Position = field(default_factory=Position)

    def finish(self, images: int, description: str, quiet: bool) -> tuple[list[Row], tuple[int, int]]:
        """Go on from the stored state, or from the beginning, to the last epoch; also says where that was."""
        self.position = self.store.load(self.stepper)
        start, method = (self.position.epoch, self.position.batch), self.stepper.method
        self.store.note(start)
        if isinstance(self.log, LogFile) and self.position.rows:
            self.log.write(self.position.rows)  # there may be no epoch left to do it, and the old file may be gone
        done = start[0] * images + min(start[1] * method.batch, images)
        with progress(method.epochs * images, "img", description, initial=done, quiet=quiet) as bar:
            while self.position.epoch < method.epochs:
                self._epoch(bar)
        return self.position.rows, start

    def _epoch(self, bar) -> None:
        """The rest of the current epoch: training, evaluation, one row of the log, a stored state."""
        epoch, stepper = self.position.epoch, self.stepper
        meter = Meter(self.position.sums, stepper.method.extras)
        begun = time.monotonic() - meter.sums["seconds"]
        self._train(bar, meter, begun)
        trained = time.monotonic() - begun
        law, batches = stepper.law(epoch), self.test
        result = stepper.method.evaluate(
            stepper.model, batches, law, seed=stepper.seed, epoch=epoch, ranks=stepper.ranks
        )
        if not math.isfinite(result.loss):  # running statistics can overflow, which no training loss uses
            raise NonFiniteError(
                f"epoch {epoch}: the loss on noisy test images is {result.loss}; lower the learning rate"
            )
        lr = stepper.learning_rate(epoch)
        row = row_of(epoch, time.monotonic() - begun, trained, lr, meter, result)
        stepper.method.judge([*self.position.rows, row])
        self._finish_epoch(row)
        _show(bar, epoch, meter)
        if not bar.disable and (warning := no_better(row["test_accuracy"], self.chance)):
            bar.write(f"epoch {epoch}: {warning}", file=sys.stderr)

    def _train(self, bar, meter: Meter, begun: float) -> None:
        """The batches that are left of the current epoch; `begun`: when it would have begun without interruption."""
        epoch = self.position.epoch
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

    def _finish_epoch(self, row: Row) -> None:
        self.position = Position(epoch=row["epoch"] + 1, rows=[*self.position.rows, row])
        last = self.position.epoch == self.stepper.method.epochs
        if last or self.store.due(min(EPOCH_SECONDS, self.store.seconds)):
            self.store.save(self.stepper, self.position)
        if isinstance(self.log, LogFile):
            self.log.write(self.position.rows)
        elif self.log is not None:
            self.log(row)


def _place(epoch: int, batch: int) -> str:
    """Where an attempt goes on, in words."""
    return f"resumed in epoch {epoch} after {batch} batches" if (epoch, batch) != (0, 0) else "began"


def row_of(epoch: int, seconds: float, trained: float, lr: float, meter: Meter, result: Evaluation) -> Row:
    """The log's line of an epoch (columns of `certflow.training.log`)."""
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
