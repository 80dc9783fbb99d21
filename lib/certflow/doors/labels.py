"""True classes of images from a file: an array, or a table that names images by file or number."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from certflow.doors.given import Given, read_array
from certflow.errors import DataError
from certflow.files.intact import brief, read_bounded

KEYS = ("idx", "file")
NUMBER = re.compile(r"[0-9]{1,18}")
WRITTEN = "a table with a header `idx,label` or `file,label`, or an array of whole numbers saved by numpy.save"

Rows = dict[str, list[str]]
"""What stands in the column that names images → the texts of its labels."""


def with_labels(given: Given, path: str | Path) -> Given:
    """The images with the labels of a file: FILE.npy int [images], or comma- or tab-separated text.

    Text has a column `label` and one that says of which image: `idx` (its number, from 0) or `file` (the end of its path, as
    much of it as no other image has). `DataError` names the file and the image for which there is no label, or more than one.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return given.labelled(_array(path, len(given)))
    key, rows = _rows(path)
    named = _by_number(given, rows) if key == "idx" else _by_file(given, rows, path)
    return given.labelled(np.array([_label(path, name, found) for name, found in named], np.int64))


def _array(path: Path, images: int) -> np.ndarray:
    labels = read_array(path, WRITTEN)
    if labels.shape != (images,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: must hold {images} whole numbers, one for each image, holds {labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(np.int64)


def _rows(path: Path) -> tuple[str, Rows]:
    """Which column names images, and label texts by what stands there."""
    try:
        text = read_bounded(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = "not text in UTF-8" if isinstance(error, UnicodeDecodeError) else brief(error)
        raise DataError(f"{path}: cannot be read ({reason}); write {WRITTEN}") from error
    lines = text.splitlines()
    separator = "\t" if lines and "\t" in lines[0] else ","
    table = csv.DictReader(lines, delimiter=separator)
    columns = [name.strip() for name in table.fieldnames or ()]
    table.fieldnames = columns
    key = next((name for name in KEYS if name in columns), None)
    if key is None or "label" not in columns or columns.count(key) + columns.count("label") > 2:
        raise DataError(f"{path}: has the columns {', '.join(columns) or 'none'}; write {WRITTEN}")
    rows: Rows = {}
    try:
        for row in table:
            name = (row[key] or "").strip()
            rows.setdefault(os.path.normpath(name) if key == "file" else name, []).append((row["label"] or "").strip())
    except csv.Error as error:
        raise DataError(f"{path}: line {table.line_num + 1}: cannot be read ({error}); write {WRITTEN}") from error
    return key, rows


def _by_number(given: Given, rows: Rows) -> Iterator[tuple[str, list[str]]]:
    """What each image is called, and the labels of its number."""
    return ((str(index), rows.get(str(index), [])) for index in given.index.tolist())


def _by_file(given: Given, rows: Rows, path: Path) -> Iterator[tuple[str, list[str]]]:
    """What each image is called, and the labels of the ends of its path; `DataError` where a row names several images."""
    places = [os.path.abspath(given.describe(index)) for index in given.index.tolist()]
    named = [[end for end in _ends(place) if end in rows] for place in places]
    if places and not any(named):
        raise DataError(
            f"{path}: image {places[0]} has no label, and no other has one: the column `file` has names such as "
            f"{next(iter(rows), 'nothing')!r}; write ends of the images' paths, or their numbers in a column `idx`"
        )
    images = Counter(end for ends in named for end in ends)
    for place, ends in zip(places, named, strict=True):
        for end in ends:
            if images[end] > 1:
                raise DataError(
                    f"{path}: {end}: is the end of the paths of {images[end]} images; write more of their paths"
                )
        yield place, [label for end in ends for label in rows[end]]


def _ends(place: str) -> list[str]:
    """Every end of an absolute path, the whole of it included."""
    parts = place.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _label(path: Path, name: str, found: list[str]) -> int:
    if len(found) != 1:
        what = "has no label" if not found else f"has {len(found)} labels"
        raise DataError(f"{path}: image {name} {what}; give each image one")
    if not NUMBER.fullmatch(found[0]):
        raise DataError(f"{path}: image {name}: label {found[0]!r} is not a whole number from 0 on")
    return int(found[0])
