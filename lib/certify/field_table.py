"""The per-image table that the field's scripts exchange: idx, label, predict, radius, correct, time.

This is the format of `locuslab/smoothing` and of the projects built on it: tab-separated, one row per image, predict -1 and
radius 0 for an abstention, time as H:MM:SS.ffffff. Tables made elsewhere are read here, so that their results can stand in an
experiment beside ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FIELD_COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
REMEDY = f"give a complete tab-separated table with the columns {' '.join(FIELD_COLUMNS)}, one row per image"


def format_time(seconds: float) -> str:
    """Seconds as H:MM:SS.ffffff, rounded to microseconds; hours grow beyond a day."""
    microseconds = round(seconds * 1e6)
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 1_000_000:02d}.{rest % 1_000_000:06d}"


def parse_time(text: str) -> float:
    """Seconds of H:MM:SS[.ffffff]; ValueError for anything else."""
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError(f"not a time H:MM:SS.ffffff: {text!r}")
    hours, minutes, seconds = int(parts[0]), int(parts[1]), float(parts[2])
    if not (hours >= 0 and 0 <= minutes < 60 and 0 <= seconds < 60):
        raise ValueError(f"not a time H:MM:SS.ffffff: {text!r}")
    return 3600.0 * hours + 60.0 * minutes + seconds


def read_field_table(path: str | Path) -> "pd.DataFrame":
    """A certification table made by another project, with the columns idx, label, predict, radius, correct, time, seconds.

    Further columns are ignored. Checked: the six columns are there; idx, label, predict and correct are whole numbers; radii
    are finite and not negative; correct says whether predict is the label; abstentions (predict -1) have radius 0; no image
    occurs twice; no row is cut short. A `DataError` names file, line and remedy.

    Other projects print radii with three significant digits, rounded to nearest: such radii may exceed what was certified by
    half a unit of the third digit.
    """
    import pandas as pd

    path = Path(path)
    texts = _columns(path)
    table = {name: _convert(path, name, texts[name], int) for name in ("idx", "label", "predict", "correct")}
    table["radius"] = _convert(path, "radius", texts["radius"], float)
    table["time"] = np.array(texts["time"], object)
    table["seconds"] = _convert(path, "time", texts["time"], parse_time)
    _check_rows(path, table)
    return pd.DataFrame({name: table[name] for name in (*FIELD_COLUMNS, "seconds")})


def _columns(path: Path) -> dict[str, list[str]]:
    """The texts of the six columns; DataError for a file that is no table of full rows."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name an existing table") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text file; {REMEDY}") from error
    header = lines[0].split("\t") if lines else []
    missing = [column for column in FIELD_COLUMNS if column not in header]
    if missing:
        raise DataError(f"{path}: line 1: lacks the columns {', '.join(missing)}; {REMEDY}")
    if len(lines) == 1:
        raise DataError(f"{path}: has no rows; {REMEDY}")
    rows = [line.split("\t") for line in lines[1:]]
    for row, fields in enumerate(rows):
        if len(fields) != len(header):
            raise DataError(f"{path}: line {row + 2}: has {len(fields)} fields, not {len(header)}; {REMEDY}")
    return {name: [fields[header.index(name)] for fields in rows] for name in FIELD_COLUMNS}


def _convert(path: Path, name: str, texts: list[str], parse: Callable[[str], float]) -> np.ndarray:
    """int64 or float64 [rows]; DataError at the first text that `parse` refuses."""
    values = []
    for row, text in enumerate(texts):
        try:
            values.append(parse(text))
        except ValueError:
            raise DataError(f"{path}: line {row + 2}: {name}: cannot read {text!r}; {REMEDY}") from None
    return np.array(values)


def _check_rows(path: Path, table: dict[str, np.ndarray]) -> None:
    idx, label, predict, radius = (table[name] for name in ("idx", "label", "predict", "radius"))
    _, first, inverse = np.unique(idx, return_index=True, return_inverse=True)
    earlier = first[inverse]
    rows = np.arange(len(idx))
    findings = [
        (earlier < rows, lambda row: f"image idx {idx[row]} occurs again (first in line {earlier[row] + 2})"),
        ((idx < 0) | (label < 0), lambda row: f"idx {idx[row]} or label {label[row]} is negative"),
        (predict < -1, lambda row: f"predict {predict[row]} is neither a class nor -1"),
        (~np.isfinite(radius) | (radius < 0), lambda row: f"radius {radius[row]} is not a finite number from 0 on"),
        (
            table["correct"] != (predict == label),
            lambda row: f"correct is {table['correct'][row]}, but predict is {predict[row]} and label {label[row]}",
        ),
        ((predict == -1) & (radius != 0), lambda row: f"abstains with radius {radius[row]}; it must be 0"),
    ]
    for bad, describe in findings:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"{path}: line {row + 2}: {describe(row)}; {REMEDY}")
