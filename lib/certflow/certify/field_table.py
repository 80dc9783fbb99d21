"""The per-image table that the field's scripts exchange: idx, label, predict, radius, correct, time.

This is the format of `locuslab/smoothing` and of the projects built on it: tab-separated, one row per image, predict -1 and
radius 0 for an abstention. Tables made elsewhere are read here, so that their results can stand in an experiment beside ours.
What a certificate claims is read strictly; the rest differs between projects and is taken as it comes.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import DataError
from certflow.files.intact import brief

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = ("idx", "label", "predict", "radius", "correct")
"""The columns that every table must have."""

FIELD_COLUMNS = (*CLAIMS, "time")

TIME_NAMES = ("time", "time_forward")
"""What projects call the column of times; the first one that a table has is read."""

REMEDY = (
    f"give a complete tab-separated table with the columns {' '.join(CLAIMS)} (time is optional), one row per image"
)

MOST_BYTES = 2**28
"""Largest file that is read: fifty times a table of all ImageNet validation images."""

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
CLOCK = re.compile(
    r"(?:(?P<days>\d+) days?,? )?(?P<hours>\d+):(?P<minutes>\d\d?):(?P<seconds>\d\d?(?:\.\d*)?)", re.ASCII
)
SHORT_CLOCK = re.compile(r"(?P<minutes>\d+):(?P<seconds>\d\d?\.\d+)", re.ASCII)
"""Minutes and seconds, as spreadsheets shorten a time."""


def format_time(seconds: float) -> str:
    """Seconds as H:MM:SS.ffffff, rounded to microseconds; hours grow beyond a day."""
    microseconds = round(seconds * 1e6)
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 1_000_000:02d}.{rest % 1_000_000:06d}"


def parse_time(text: str) -> float:
    """Seconds of a time as projects print it: `H:MM:SS[.f]`, `2 days, H:MM:SS[.f]`, `M:SS.f`, or a number of seconds.

    NaN where nothing is stated (an empty field, `nan`); ValueError for anything else.
    """
    if text.lower() in ("", "nan"):
        return np.nan
    clock = CLOCK.fullmatch(text) or SHORT_CLOCK.fullmatch(text)
    if clock is None:
        seconds = _number(text)
        if not 0 <= seconds < np.inf:
            raise ValueError(f"not a time: {text!r}")
        return seconds
    parts = {name: float(value or 0) for name, value in clock.groupdict().items()}
    if parts["seconds"] >= 60 or ("hours" in parts and parts["minutes"] >= 60):
        raise ValueError(f"not a time: {text!r}")
    scale = {"days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}
    return sum(scale[name] * value for name, value in parts.items())


def read_field_table(path: str | Path) -> "pd.DataFrame":
    """A certification table made by another project: idx, label, predict, radius, correct, time (as written), seconds.

    Checked: the columns but time are there, each once; idx, label and predict are whole numbers, correct is 0, 1, False or
    True; radii are finite and not negative; correct says whether predict is the label; abstentions (predict -1) have radius
    0; no image occurs twice; no row is cut short. A `DataError` names file, line and remedy.

    Taken as it comes: the order of the columns, further columns, a byte-order mark, ends of lines, blanks around fields or in
    place of the tabs, text below the last row, and how the time is written (see `parse_time`; NaN where it is not stated).

    Other projects print radii with three significant digits, rounded to nearest: such radii may exceed what was certified by
    half a unit of the third digit.
    """
    import pandas as pd

    table = read_field_columns(path)
    return pd.DataFrame({name: table[name] for name in (*FIELD_COLUMNS, "seconds")})


def read_field_columns(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of `read_field_table`, and `line`: the number of each row's line in the file. Needs no pandas."""
    raw = _raw_table(Path(path))
    table = {name: raw.converted(name, _whole) for name in ("idx", "label", "predict")}
    table["radius"] = raw.converted("radius", _number)
    table["correct"] = raw.converted("correct", _flag)
    time = next((name for name in TIME_NAMES if name in raw.header), None)
    table["time"] = np.array([""] * len(raw.rows) if time is None else raw.texts(time), object)
    table["seconds"] = np.full(len(raw.rows), np.nan) if time is None else raw.converted(time, parse_time)
    table["line"] = np.array(raw.lines)
    _check_rows(Path(path), table)
    return table


@dataclass(frozen=True)
class _RawTable:
    """The fields of a table as text, with the number of each row's line."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def texts(self, name: str) -> list[str]:
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def converted(self, name: str, parse: Callable[[str], Any]) -> np.ndarray:
        """[rows]; DataError at the first text that `parse` refuses."""
        values = []
        for line, text in zip(self.lines, self.texts(name), strict=True):
            try:
                values.append(parse(text))
            except ValueError:
                raise DataError(f"{self.path}: line {line}: {name}: cannot read {text[:80]!r}; {REMEDY}") from None
        return np.array(values)


def _raw_table(path: Path) -> _RawTable:
    """Header and rows; DataError where the file is not a table of full rows."""
    # Not `splitlines`, which also breaks lines at characters that editors do not count as ends of lines.
    lines = re.split(r"\r\n|\r|\n", _text(path))
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    separator = "\t" if "\t" in lines[start] else None
    header = _fields(lines[start], separator)
    while header and not header[-1]:
        header.pop()
    _check_header(path, start + 1, header, lines[start])
    rows: list[list[str]] = []
    numbers: list[int] = []
    text_at = None
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip():
            continue
        fields = _fields(line, separator)
        if _is_text(line, fields):
            text_at = text_at or number
            continue
        if text_at is not None:
            raise DataError(f"{path}: line {text_at}: is not a row, and rows follow it; {REMEDY}")
        while len(fields) > len(header) and not fields[-1]:
            fields.pop()
        if len(fields) != len(header):
            raise DataError(f"{path}: line {number}: has {len(fields)} fields, not {len(header)}; {REMEDY}")
        rows.append(fields)
        numbers.append(number)
    if not rows:
        raise DataError(f"{path}: has no rows; {REMEDY}")
    return _RawTable(path, header, rows, numbers)


def _text(path: Path) -> str:
    """The content of a text file, in UTF-8 or, with a byte-order mark, in UTF-16."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file; name an existing table")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: has {size:,} bytes, more than any table; name an existing table")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({brief(error)}); name an existing table") from error
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not a text file in UTF-8; {REMEDY}") from error


def _fields(line: str, separator: str | None) -> list[str]:
    """The fields of a line without blanks around them; None: separated by any number of blanks."""
    return [field.strip() for field in line.split(separator)]


def _is_text(line: str, fields: Sequence[str]) -> bool:
    """Is this a line of a summary, not a row? Rows have tabs or begin with a whole number, also where they are damaged."""
    return "\t" not in line and not WHOLE.match(fields[0])


def _check_header(path: Path, number: int, header: Sequence[str], line: str) -> None:
    missing = [column for column in CLAIMS if column not in header]
    if missing:
        commas = "; its columns are separated by commas or semicolons, not by tabs" if re.search("[,;]", line) else ""
        raise DataError(f"{path}: line {number}: lacks the columns {', '.join(missing)}{commas}; {REMEDY}")
    twice = sorted(name for name in {*CLAIMS, *TIME_NAMES} if header.count(name) > 1)
    if twice:
        raise DataError(f"{path}: line {number}: names the columns {', '.join(twice)} twice; {REMEDY}")


def _whole(text: str) -> int:
    """The whole number that a text states, of at most 18 digits; ValueError otherwise."""
    if not WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    """The number that a text states; unlike `float`, nothing but ASCII and no underscores. -0 is 0."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text) + 0.0


def _flag(text: str) -> int:
    """0 or 1 of 0, 1, False, True; ValueError otherwise. Any other whole number is left to the check against predict."""
    words = {"false": 0, "true": 1}
    return words[text.lower()] if text.lower() in words else _whole(text)


def _check_rows(path: Path, table: dict[str, np.ndarray]) -> None:
    idx, label, predict, radius, correct, line = (table[name] for name in (*CLAIMS, "line"))
    _, first, inverse = np.unique(idx, return_index=True, return_inverse=True)
    earlier = first[inverse]
    rows = np.arange(len(idx))
    findings = [
        (earlier < rows, lambda row: f"image idx {idx[row]} occurs again (first in line {line[earlier[row]]})"),
        ((idx < 0) | (label < 0), lambda row: f"idx {idx[row]} or label {label[row]} is negative"),
        (predict < -1, lambda row: f"predict {predict[row]} is neither a class nor -1"),
        (~np.isfinite(radius) | (radius < 0), lambda row: f"radius {radius[row]} is not a finite number from 0 on"),
        (
            correct != (predict == label),
            lambda row: f"correct is {correct[row]}, but predict is {predict[row]} and label {label[row]}",
        ),
        ((predict == -1) & (radius != 0), lambda row: f"abstains with radius {radius[row]}; it must be 0"),
    ]
    for bad, describe in findings:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"{path}: line {line[row]}: {describe(row)}; {REMEDY}")
