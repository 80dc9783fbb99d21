"""A range of rows, counted. A row is one draw of one image."""

from dataclasses import dataclass

import numpy as np
import torch

from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import Copies


@dataclass(frozen=True)
class RowRange:
    """Rows row..stop-1, and what they are made from, per image: the images, positions, rows where each image's end, row of its
    draw 0 (which may lie before the first row), parameters of its law; all on the host."""

    row: int
    stop: int
    images: torch.Tensor
    index: np.ndarray
    ends: np.ndarray
    begins: np.ndarray
    parameter: np.ndarray | None


def columns_of(base: BaseClassifier, margin: float | None) -> int:
    """How many numbers are counted of an image: one for each class and, with a margin, one for unsure votes."""
    return base.classes + (margin is not None)


def count_rows(base: BaseClassifier, copies: Copies, margin: float | None, wanted: RowRange) -> tuple[np.ndarray, int]:
    """Counts int64 [images, columns] of the rows, and the first row with bad logits, or `stop`. On the CPU;
    `certflow.sampling.fast.row_loop` does the same on a GPU."""
    index, ends, starts = (torch.from_numpy(values) for values in (wanted.index, wanted.ends, wanted.begins))
    parameter = None if wanted.parameter is None else torch.from_numpy(wanted.parameter)
    clean, stop = copies.hold(wanted.images), wanted.stop
    columns = columns_of(base, margin)
    counts = torch.zeros(len(index) * columns, dtype=torch.int64)
    bad = torch.tensor(stop)
    for begin in range(wanted.row, stop, base.batch):
        end = min(begin + base.batch, stop)
        one, other = np.searchsorted(wanted.ends, (begin, end - 1), side="right")
        rows = torch.arange(begin, end)
        slot = torch.searchsorted(ends, rows, right=True)
        # One image is not copied to all rows.
        held, values = clean[one] if one == other else clean[slot], None if parameter is None else parameter[slot]
        noisy = copies.rows(held, index[slot], rows - starts[slot], values)
        classes, finite, unsure = base.votes(noisy, margin)
        counts.index_add_(0, slot * columns + classes, torch.ones_like(classes))
        if unsure is not None:
            counts.index_add_(0, slot * columns + base.classes, unsure.long())
        bad = torch.minimum(bad, torch.where(finite, stop, rows).min())
    return counts.reshape(-1, columns).numpy(), int(bad)
