"""Class counts under noise: rows of many images packed into full batches, counted on the device.

A row is one draw of one image. Its noise is keyed by (seed, stream, position of the image in the full split, draw number), its
class depends on nothing else, so counts are the same for any batch size, order, sharding or resumption.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from certflow.errors import NonFiniteError, short_of_memory
from certflow.machine.progress import progress
from certflow.noise.base import NoiseSpec
from certflow.sampling.arguments import as_tensor
from certflow.sampling.base import Arithmetic
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import Copies, copies_of
from certflow.sampling.fast.row_loop import Kept, last_row
from certflow.sampling.images import Reader, check_images
from certflow.sampling.queue import Queue
from certflow.sampling.resume import Journal
from certflow.sampling.rows import columns_of, count_rows
from certflow.sampling.settings import engine_settings

CHUNK_ROWS = 1000
"""Rows before the first read from the device, when nothing is known of the network's speed yet."""
CHUNK_SECONDS = 5.0
"""Chunks grow up to about this long: the work that a kill can lose is one chunk and the time since the last save."""


Watch = Callable[[str, int, int], None]
"""(what is counted, units done, units in all): how work that shows no bar of its own reports how far it is."""


@dataclass(frozen=True)
class Counts:
    """counts: int64 [images, classes]; seconds: float64 [images], wall time shared out by draws."""

    counts: np.ndarray
    seconds: np.ndarray
    unsure: np.ndarray | None = None
    """int64 [images]: how many of the votes were unsure, where a margin was given."""


@engine_settings()
@torch.inference_mode()
def count_classes(
    base: BaseClassifier,
    images: np.ndarray | torch.Tensor | Reader,
    index: np.ndarray,
    draws: np.ndarray,
    *,
    noise: NoiseSpec,
    seed: int,
    stream: int,
    start: np.ndarray | None = None,
    parameter: np.ndarray | None = None,
    arithmetic: Arithmetic = "float",
    every: bool = False,
    margin: float | None = None,
    journal: Journal | None = None,
    kept: Kept | None = None,
    describe: Callable[[int], str] | None = None,
    description: str = "sample",
    quiet: bool = False,
    watch: Watch | None = None,
) -> Counts:
    """Count the classes of `draws[i]` noisy copies of each image.

    images: [images, *base.shape], uint8 or float32 in [0,1], or a reader of them. index: int64 [images], positions in the full
    split (below 2**32). draws: int64 [images], 0 allowed. start: int64 [images], the number of each image's first draw (0),
    for counting in instalments. parameter: float64 [images], part of the rows' keys where the law needs it.
    arithmetic: see `SamplerSpec.arithmetic`. every: try each outcome of the noise once instead of drawing; `draws` must then be
    `noise.outcomes`, and seed and stream do not matter. margin: also count votes whose two largest logits lie closer together.
    `journal` makes the work resumable. `kept`: what earlier calls of the same kind left on the device. `describe(index)` names
    an image in messages. `watch` hears of every chunk; what it raises ends the counting.

    Raises NonFiniteError naming image and draw where logits are NaN or infinite, ValueError for images out of range, or off the
    grid of 8-bit pixels with exact arithmetic, and where the model has changed since it was made ready (its counts are lost).
    """
    how = {"arithmetic": arithmetic, "parameter": parameter is not None, "every": every}
    copies = copies_of(base, noise, seed=seed, stream=stream, **how)
    queue = Queue.checked(index, draws, start, parameter)
    if every:
        _check_every(noise, queue)
    work = _Work(base, _held(base, images, queue, copies), queue, copies, kept or Kept(), margin)
    row, counts, seconds = (journal.load(*work.shape) if journal else None) or work.nothing()
    pace = _Pace()
    with progress(queue.rows, "draw", description, initial=row, quiet=quiet) as bar:
        while row < queue.rows:
            started = time.monotonic()
            stop = work.limited(row, pace.stop(row, queue.rows, base.batch))
            counted = work.tried(row, stop)
            if counted is None:
                bar.write(f"out of memory: going on with batches of {base.batch}", file=sys.stderr)
                continue
            found, bad = counted
            if bad < stop:
                raise _non_finite(*queue.draw(bad), describe)
            spent = time.monotonic() - started
            counts[queue.touched(row, stop)] += found
            seconds += spent * queue.share(row, stop)
            bar.update(stop - row)
            row = stop
            if row == queue.rows or (journal and journal.due()):  # whoever goes on from a stored state cannot look back
                _require_unchanged(base, journal)
                if journal:
                    journal.save(row, counts, seconds)
            if watch:
                watch(description, row, queue.rows)
            pace.took(spent)
    return Counts(counts[:, : base.classes], seconds, None if margin is None else counts[:, base.classes])


@dataclass
class _Pace:
    """How many rows are counted between two reads from the device."""

    rows: int = field(default_factory=lambda: CHUNK_ROWS)

    def stop(self, row: int, last: int, batch: int) -> int:
        """Where a chunk that begins at a row ends. In whole batches: only the last one of all is padded."""
        return min(row + -(-self.rows // batch) * batch, last)

    def took(self, seconds: float) -> None:
        """Choose the next chunk by what this one took."""
        self.rows = max(1, min(2 * self.rows, int(self.rows * CHUNK_SECONDS / max(seconds, 1e-6))))


@dataclass
class _Work:
    """What a range of rows is counted from."""

    base: BaseClassifier
    images: torch.Tensor | Reader
    queue: Queue
    copies: Copies
    kept: Kept
    margin: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Images, and numbers that are counted of each."""
        return len(self.queue.index), columns_of(self.base, self.margin)

    def nothing(self) -> tuple[int, np.ndarray, np.ndarray]:
        """(rows done, counts, seconds of each image) before the first row."""
        return 0, np.zeros(self.shape, np.int64), np.zeros(len(self.queue.index))

    @property
    def by_graph(self) -> bool:
        """Whether batches are repeated on fixed memory; on a CPU that gains nothing."""
        return self.base.device.type != "cpu"

    def limited(self, row: int, stop: int) -> int:
        """Where to stop at the latest: on a GPU so many images are held as have room."""
        return last_row(row, stop, self.queue.ends, self.base) if self.by_graph else stop

    def tried(self, row: int, stop: int) -> tuple[np.ndarray, int] | None:
        """`count`; None where memory did not suffice, with smaller batches from now on."""
        try:
            return self.count(row, stop)
        except Exception as error:  # every library below has one of its own
            if not short_of_memory(error):
                raise
            error.__context__ = None
            short = error.with_traceback(None)  # which would hold the memory still
        self.kept.forget()
        if not self.base.halve_batch():
            raise short
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def count(self, row: int, stop: int) -> tuple[np.ndarray, int]:
        """Counts int64 [images touched, columns] of rows row..stop-1, and the first row with bad logits or `stop`."""
        wanted = self.queue.range(row, stop, self._read(self.queue.touched(row, stop)))
        count = self.kept.count_rows if self.by_graph else count_rows
        return count(self.base, self.copies, self.margin, wanted)

    def _read(self, rows: slice) -> torch.Tensor:
        if not isinstance(self.images, Reader):
            return self.images[rows]
        images = as_tensor(self.images.read(rows))
        check_images(self.base, images, self.queue.index[rows], self.copies.exact)
        return images


def _held(
    base: BaseClassifier, images: np.ndarray | torch.Tensor | Reader, queue: Queue, copies: Copies
) -> torch.Tensor | Reader:
    """Images, checked; those of a reader are when they are read."""
    if isinstance(images, Reader):
        return images
    images = as_tensor(images)
    check_images(base, images, queue.index, copies.exact)
    return images


def _require_unchanged(base: BaseClassifier, journal: Journal | None) -> None:
    try:
        base.require_unchanged()
    except ValueError:
        if journal:
            journal.remove()
        raise


def _check_every(noise: NoiseSpec, queue: Queue) -> None:
    """A draw's number is that of an outcome: there must be as many draws of every image as outcomes, from the first one on."""
    if (queue.draws != noise.outcomes).any() or queue.start.any():
        raise ValueError(
            f"draws: every outcome of {noise.kind} noise is to be counted once, which takes {noise.outcomes} of them, from "
            f"number 0 on; got {np.unique(queue.draws).tolist()}"
        )


def _non_finite(index: int, draw: int, describe: Callable[[int], str] | None) -> NonFiniteError:
    name = describe(index) if describe else f"image {index}"
    return NonFiniteError(
        f"{name}: the model's logits are NaN or infinite at draw {draw}; check the checkpoint and the precision it is run in"
    )
