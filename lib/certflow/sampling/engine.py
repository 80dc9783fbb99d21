"""Class counts under noise: rows of many images packed into full batches, counted on the device.

A row is one draw of one image. Its noise is keyed by (seed, stream, position of the image in the full split, draw number), its
class depends on nothing else, so counts are the same for any batch size, order, sharding or resumption.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from certflow.errors import NonFiniteError
from certflow.machine.progress import progress
from certflow.noise.base import NoiseSpec
from certflow.sampling.arguments import as_tensor
from certflow.sampling.base import Arithmetic
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import Copies, copies_of
from certflow.sampling.fast.row_loop import Kept, last_row
from certflow.sampling.images import Reader, check_images
from certflow.sampling.resume import Journal
from certflow.sampling.rows import RowRange, columns_of, count_rows
from certflow.sampling.settings import engine_settings

CHUNK_ROWS = 10_000
"""At least so many rows between two reads from the device."""
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
    grid of 8-bit pixels with exact arithmetic.
    """
    how = {"arithmetic": arithmetic, "parameter": parameter is not None, "every": every}
    copies = copies_of(base, noise, seed=seed, stream=stream, **how)
    images, index, draws = _checked(base, images, index, draws, copies.exact)
    start = np.zeros(len(index), np.int64) if start is None else np.array(start, np.int64)
    if len(start) != len(index) or (len(start) and (start.min() < 0 or (start + draws).max() > 2**32)):
        raise ValueError("start must hold one draw number per image, from 0 to 2**32 less its draws")
    if every:
        _check_every(noise, draws, start)
    ends = np.cumsum(draws)
    total = int(ends[-1]) if len(ends) else 0
    columns = columns_of(base, margin)
    state = journal.load(len(index), columns) if journal else None
    row, counts, seconds = state or (0, np.zeros((len(index), columns), np.int64), np.zeros(len(index)))
    parameter = None if parameter is None else np.array(parameter, np.float64)  # a copy: columns are read-only
    work = _Work(base, images, index, ends, start, copies, parameter, kept or Kept(), margin)
    chunk = CHUNK_ROWS
    with progress(total, "draw", description, initial=row, quiet=quiet) as bar:
        while row < total:
            started = time.monotonic()
            # Whole batches: only the last one of all is padded.
            stop = work.limited(row, min(row + -(-chunk // base.batch) * base.batch, total))
            counted = work.tried(row, stop)
            if isinstance(counted, torch.OutOfMemoryError):
                work.kept.forget()
                if not base.halve_batch():
                    raise counted
                if base.device.type == "cuda":
                    torch.cuda.empty_cache()
                bar.write(f"out of GPU memory: going on with batches of {base.batch}", file=sys.stderr)
                continue
            first, found, bad = counted
            if bad < stop:
                _raise_non_finite(bad, index, draws, ends, start, describe)
            counts[first : first + len(found)] += found
            spent = time.monotonic() - started
            seconds += spent * _share(ends, draws, row, stop)
            bar.update(stop - row)
            row = stop
            if journal:
                journal.save(row, counts, seconds)
            if watch:
                watch(description, row, total)
            chunk = max(CHUNK_ROWS, min(2 * chunk, int(chunk * CHUNK_SECONDS / max(spent, 1e-6))))
    return Counts(counts[:, : base.classes], seconds, None if margin is None else counts[:, base.classes])


@dataclass
class _Work:
    """What a range of rows is counted from."""

    base: BaseClassifier
    images: torch.Tensor | Reader
    index: np.ndarray
    ends: np.ndarray
    start: np.ndarray
    copies: Copies
    parameter: np.ndarray | None
    kept: Kept
    margin: float | None = None

    @property
    def by_graph(self) -> bool:
        """Whether batches are repeated on fixed memory; on a CPU that gains nothing."""
        return self.base.device.type != "cpu"

    def limited(self, row: int, stop: int) -> int:
        """Where to stop at the latest: on a GPU so many images are held as have room."""
        return last_row(row, stop, self.ends, self.base) if self.by_graph else stop

    def tried(self, row: int, stop: int) -> tuple[int, np.ndarray, int] | torch.OutOfMemoryError:
        """`count`, or the error where memory did not suffice. Without its traceback, which would hold the memory still."""
        try:
            return self.count(row, stop)
        except torch.OutOfMemoryError as error:
            error.__context__ = None
            return error.with_traceback(None)

    def count(self, row: int, stop: int) -> tuple[int, np.ndarray, int]:
        """Counts of rows row..stop-1 as (first image, int64 [images touched, classes], first row with bad logits or `stop`)."""
        first, last = (int(np.searchsorted(self.ends, r, side="right")) for r in (row, stop - 1))
        touched = slice(first, last + 1)
        begins = np.concatenate([[0], self.ends])[touched] - self.start[touched]
        parameter = None if self.parameter is None else self.parameter[touched]
        wanted = RowRange(row, stop, self._read(touched), self.index[touched], self.ends[touched], begins, parameter)
        count = self.kept.count_rows if self.by_graph else count_rows
        return first, *count(self.base, self.copies, self.margin, wanted)

    def _read(self, rows: slice) -> torch.Tensor:
        if not isinstance(self.images, Reader):
            return self.images[rows]
        images = as_tensor(self.images.read(rows))
        check_images(self.base, images, self.index[rows], self.copies.exact)
        return images


def _checked(
    base: BaseClassifier, images: np.ndarray | torch.Tensor | Reader, index: np.ndarray, draws: np.ndarray, exact: bool
) -> tuple[torch.Tensor | Reader, np.ndarray, np.ndarray]:
    index, draws = np.array(index, np.int64), np.array(draws, np.int64)  # copies: columns of tables are read-only
    if len(index) != len(draws):
        raise ValueError(f"{len(index)} indices and {len(draws)} numbers of draws do not belong together")
    if len(index) and (index.min() < 0 or index.max() >= 2**32 or len(np.unique(index)) < len(index)):
        raise ValueError("index must hold different positions in [0, 2**32): equal positions would share their noise")
    if len(draws) and (draws.min() < 0 or draws.max() >= 2**32):
        raise ValueError(f"draws must lie in [0, 2**32), got {draws.min()} to {draws.max()}")
    if not isinstance(images, Reader):
        images = as_tensor(images)
        check_images(base, images, index, exact)
    return images, index, draws


def _check_every(noise: NoiseSpec, draws: np.ndarray, start: np.ndarray) -> None:
    """A draw's number is that of an outcome: there must be as many draws of every image as outcomes, from the first one on."""
    if (draws != noise.outcomes).any() or start.any():
        raise ValueError(
            f"draws: every outcome of {noise.kind} noise is to be counted once, which takes {noise.outcomes} of them, from "
            f"number 0 on; got {np.unique(draws).tolist()}"
        )


def _share(ends: np.ndarray, draws: np.ndarray, row: int, stop: int) -> np.ndarray:
    """float64 [images]: which part of rows row..stop-1 belongs to each image."""
    return (np.minimum(ends, stop) - np.maximum(ends - draws, row)).clip(min=0) / (stop - row)


def _raise_non_finite(row: int, index, draws, ends, start, describe) -> None:
    slot = int(np.searchsorted(ends, row, side="right"))
    name = describe(int(index[slot])) if describe else f"image {index[slot]}"
    draw = row - int(ends[slot] - draws[slot]) + int(start[slot])
    raise NonFiniteError(
        f"{name}: the model's logits are NaN or infinite at draw {draw}; check the checkpoint and the precision it is run in"
    )
