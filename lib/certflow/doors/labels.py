"""True classes of images from a file: an array, or a table that names images by file or number."""

import csv
from pathlib import Path

import numpy as np

from certflow.doors.given import Given
from certflow.errors import DataError

KEYS = ("idx", "file")
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
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an array of labels; write {WRITTEN}") from error
    if labels.shape != (images,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: must hold {images} whole numbers, one for each image, holds {labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(np.int64)


def _rows(path: Path) -> tuple[str, dict[str, list[str]]]:
    """Which column names images, and label texts by what stands there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
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
    for row in table:
        name = (row[key] or "").strip()
        rows.setdefault(Path(name).name if key == "file" else name, []).append((row["label"] or "").strip())
    return key, rows


def _name(given: Given, key: str, index: int) -> str:
    return Path(given.describe(index)).name if key == "file" else str(index)


def _label(path: Path, rows: dict[str, list[str]], name: str) -> int:
    found = rows.get(name, [])
    if len(found) != 1:
        what = "has no label" if not found else f"has {len(found)} labels"
        raise DataError(f"{path}: image {name} {what}; give each image one")
    if not found[0].isascii() or not found[0].isdecimal():
        raise DataError(f"{path}: image {name}: label {found[0]!r} is not a whole number from 0 on")
    return int(found[0])
