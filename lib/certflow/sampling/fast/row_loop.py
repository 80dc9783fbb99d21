"""One batch of rows as a fixed sequence of operations on fixed memory, with nothing read by the host: work for a CUDA graph.

What differs between batches lies on the device: which rows are next (a number that every batch moves on by itself), where each
image's rows end, the images, and the counts.
"""

from dataclasses import dataclass

import numpy as np
import torch

from certflow.machine.replay import Recorder, Replayed
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import Copies
from certflow.sampling.rows import RowRange, columns_of

SLOT_BYTES = 1 << 26
"""Images held on the device at a time fill about so much memory,"""
MOST_SLOTS = 4096
"""and are no more than these."""
LAST_ROW = 2**63 - 1


def slots_of(dim: int) -> int:
    """How many images of `dim` values are held at a time."""
    return max(16, min(MOST_SLOTS, SLOT_BYTES // (4 * dim)))


def last_row(row: int, stop: int, ends: np.ndarray, base: BaseClassifier) -> int:
    """Where rows row..stop-1 must be cut so that their images are held at a time; batches stay whole if they can.

    ends: int64 [images], rows where each image's end.
    """
    last = int(np.searchsorted(ends, row, side="right")) + slots_of(base.dim) - 1
    limit = min(stop, int(ends[min(last, len(ends) - 1)]))
    whole = (limit - row) // base.batch * base.batch
    return limit if limit == stop or whole == 0 else row + whole


class RowLoop:
    """Memory for `slots` images and their counts, and `step`, which counts one batch of rows.

    Between `load` and `counts` every `step` does the same operations on the same memory. Rows from the last one on repeat the
    last one, and are not counted.
    """

    def __init__(
        self, base: BaseClassifier, copies: Copies, *, slots: int, parameter: bool, margin: float | None = None
    ):
        self.base, self.copies, self.batch, self.margin = base, copies, base.batch, margin
        self.columns = columns_of(base, margin)
        zeros = lambda *shape, dtype=torch.int64: torch.zeros(shape, dtype=dtype, device=base.device)  # noqa: E731
        self.row, self.stop, self.bad = zeros(), zeros(), zeros()
        self.index, self.ends, self.begins = zeros(slots), zeros(slots), zeros(slots)
        self.clean = zeros(slots, *base.shape, dtype=copies.dtype)
        self.parameter = zeros(slots, dtype=torch.float64) if parameter else None
        self.votes = zeros(slots * self.columns)
        self.offsets = torch.arange(base.batch, device=base.device)

    def load(self, wanted: RowRange) -> None:
        """Set up the rows, of at most `slots` images."""
        used = len(wanted.index)
        self.row.fill_(wanted.row)
        self.stop.fill_(wanted.stop)
        self.bad.fill_(wanted.stop)
        self.votes.zero_()
        self.ends.fill_(LAST_ROW)
        for memory, values in ((self.index, wanted.index), (self.ends, wanted.ends), (self.begins, wanted.begins)):
            memory[:used].copy_(torch.from_numpy(values))
        if self.parameter is not None:
            self.parameter[:used].copy_(torch.from_numpy(wanted.parameter))
        self.clean[:used].copy_(self.copies.hold(wanted.images))

    def step(self) -> None:
        """Count the next batch of rows."""
        rows = self.row + self.offsets
        wanted = rows < self.stop
        rows = torch.minimum(rows, self.stop - 1)
        slot = torch.searchsorted(self.ends, rows, right=True)
        parameter = None if self.parameter is None else self.parameter.index_select(0, slot)
        draw = rows - self.begins.index_select(0, slot)
        held, image = self.clean.index_select(0, slot), self.index.index_select(0, slot)
        classes, finite, unsure = self.base.votes(self.copies.rows(held, image, draw, parameter), self.margin)
        first = slot * self.columns
        self.votes.index_add_(0, first + classes, wanted.long())
        if unsure is not None:
            self.votes.index_add_(0, first + self.base.classes, (wanted & unsure).long())
        first_bad = torch.where(finite | ~wanted, self.stop, rows).min()
        self.bad.copy_(torch.minimum(self.bad, first_bad))
        self.row += self.batch

    def counts(self, images: int) -> tuple[np.ndarray, int]:
        """Counts int64 [images, columns] of the rows that `step` has seen since `load`, and the first row with bad logits."""
        votes = self.votes[: images * self.columns].reshape(images, -1)
        return votes.cpu().numpy(), int(self.bad)


@dataclass
class Kept:
    """The device's memory and graph from one call of `count_classes` to the next; for calls that differ in images and draws
    alone."""

    work: tuple[RowLoop, Replayed] | None = None
    """The memory, and its steps."""

    def count_rows(
        self, base: BaseClassifier, copies: Copies, margin: float | None, wanted: RowRange
    ) -> tuple[np.ndarray, int]:
        """As `certflow.sampling.rows.count_rows`; at most as many images as `slots_of` says."""
        if self.work is None:
            parameter = wanted.parameter is not None
            made = RowLoop(base, copies, slots=slots_of(base.dim), parameter=parameter, margin=margin)
            self.work = made, Replayed(made.step, Recorder(base.device))
        loop, steps = self.work
        with steps.recorder.streamed():
            loop.load(wanted)
            for _ in range(wanted.row, wanted.stop, base.batch):
                steps()
            return loop.counts(len(wanted.index))

    def forget(self) -> None:
        """Let go of the memory."""
        self.work = None
