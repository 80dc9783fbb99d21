"""Lines made elsewhere beside ours: contradictions are refused, and other images than ours are stated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from certflow.certify.field_table import read_field_columns
from certflow.errors import DataError
from certflow.report.lines import Line
from certflow.report.numbers import counted


def reference(lines: Sequence[Line]) -> Line:
    """The line whose images the others are compared with: the first of ours, or the first where none is ours."""
    return next((line for line in lines if not line.external), lines[0])


def shared_images(line: Line, other: Line) -> int:
    """How many images both are about."""
    return len(np.intersect1d(_idx(line), _idx(other)))


def other_images(line: Line, ours: Line) -> str:
    """`on 250 images` where a line is about other images than `ours`, in whatever order; empty where they are the same.

    Rates on other images do not compare: such a line is marked wherever it is shown.
    """
    if shared_images(line, ours) == line.n_images == ours.n_images:
        return ""
    other = "other " if line.n_images == ours.n_images else ""
    return f"on {counted(line.n_images, f'{other}image')}"


def split_end(ours: Line, images: Mapping[str, Any]) -> int | None:
    """An upper limit of the numbers of the split's images, where our images show one; else None.

    images: the settings of `Images`. Without a `max` ours go on to the end of the split, less than a stride before it.
    """
    if images.get("max") is not None or "stride" not in images:
        return None
    return int(_idx(ours).max()) + images["stride"]


def require_same_labels(lines: Sequence[Line]) -> None:
    """`DataError` at the first image to which a table made elsewhere gives another label than ours: it is another image."""
    ours = reference(lines)
    for line in lines:
        if line.external and line is not ours:
            _require_labels(line, ours)


def require_in_split(line: Line, end: int) -> None:
    """`DataError` at the first image of a line made elsewhere whose number is `end` or more: the split has no such image."""
    beyond = np.flatnonzero(_idx(line) >= end)
    if beyond.size:
        idx = _idx(line)[beyond[0]]
        raise DataError(
            f"{_place(line, idx)}: image idx {idx} is beyond the {line.split} split, whose last image is before {end}; "
            f"name a table of the experiment's dataset and split"
        )


def _require_labels(line: Line, ours: Line) -> None:
    _, theirs_at, ours_at = np.intersect1d(_idx(line), _idx(ours), return_indices=True)
    differ = np.flatnonzero(_labels(line)[theirs_at] != _labels(ours)[ours_at])
    if differ.size:
        at, ours_row = theirs_at[differ[0]], ours_at[differ[0]]
        idx, shared = _idx(line)[at], counted(len(theirs_at), "image")
        raise DataError(
            f"{_place(line, idx)}: image idx {idx} has label {_labels(line)[at]}, but {_labels(ours)[ours_row]} in "
            f"{ours.seeds[0].path} ({differ.size} of {shared} in both differ); name a table of the same dataset "
            f"and split, in the same order and with the same numbering of classes"
        )


def _idx(line: Line) -> np.ndarray:
    return line.seeds[0].table["idx"].to_numpy(np.int64)


def _labels(line: Line) -> np.ndarray:
    return line.seeds[0].table["label"].to_numpy(np.int64)


def _place(line: Line, idx: int) -> str:
    """`file: line 7`: where an image stands in a line's first table."""
    path = line.seeds[0].path
    if not path.is_file():
        return str(path)
    table = read_field_columns(path)
    return f"{path}: line {table['line'][table['idx'] == idx][0]}"
