"""True classes of images from a file: an array, or a table that names images by file or number."""

import csv
import re
from pathlib import Path

import numpy as np

from certflow.doors.given import Given, read_array
from certflow.errors import DataError
from certflow.files.intact import brief, read_bounded

KEYS = ("idx", "file")
NUMBER = re.compile(r"[0-9]{1,18}")
WRITTEN = "a table with a header `idx,label` or `file,label`, or an array of whole numbers saved by numpy.save"


def with_labels(given: Given, path: str | Path) -> Given:
    """The images with the labels of a file: FILE.npy int [images], or comma- or tab-separated text.

    Text has a column `label` and one that says of which image: `idx` (its number, from 0) or `file` (the end of its path).
    `DataError` names the file and the image for which there is no label, or more than one.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return given.labelled(_array(path, len(given)))
    key, rows = _rows(path)
    found = [_label(path, rows, _name(given, key, int(index))) for index in given.index]
    return given.labelled(np.array(found, np.int64))


def _array(path: Path, images: int) -> np.ndarray:
    labels = read_array(path, WRITTEN)
    if labels.shape != (images,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: must hold {images} whole numbers, one for each image, holds {labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(np.int64)


def _rows(path: Path) -> tuple[str, dict[str, list[str]]]:
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
    if key is None or "label" not in columns:
        raise DataError(f"{path}: has the columns {', '.join(columns) or 'none'}; write {WRITTEN}")
    rows: dict[str, list[str]] = {}
    try:
        for row in table:
            name = (row[key] or "").strip()
            rows.setdefault(Path(name).name if key == "file" else name, []).append((row["label"] or "").strip())
    except csv.Error as error:
        raise DataError(f"{path}: line {table.line_num + 1}: cannot be read ({error}); write {WRITTEN}") from error
    return key, rows


def _name(given: Given, key: str, index: int) -> str:
    return Path(given.describe(index)).name if key == "file" else str(index)


def _label(path: Path, rows: dict[str, list[str]], name: str) -> int:
    found = rows.get(name, [])
    if len(found) != 1:
        what = "has no label" if not found else f"has {len(found)} labels"
        raise DataError(f"{path}: image {name} {what}; give each image one")
    if not NUMBER.fullmatch(found[0]):
        raise DataError(f"{path}: image {name}: label {found[0]!r} is not a whole number from 0 on")
    return int(found[0])
