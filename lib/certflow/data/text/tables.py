"""Rows of a table of texts from a local file."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from certflow.errors import DataError
from certflow.files.intact import parsed_json

Format = Literal["tsv", "csv", "jsonl"]
Column = str | int
NAMED = 20
"""Most further lines that an error names."""
REMEDY = "correct the file, or the columns in the dataset's entry"


def read_rows(path: Path, form: Format, header: bool, columns: Sequence[Column]) -> Iterator[tuple[int, list[str]]]:
    """(line number, the columns asked for) of each row. `DataError` for a row that lacks one, naming file and line.

    `tsv`: columns between tabs, quotes are letters like others, as in GLUE. `csv`: RFC 4180. `jsonl`: an object a line.
    Without a header columns are numbers, from 0.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); convert it first") from error
    lines = _objects(content, path) if form == "jsonl" else _cells(content, form, header, columns, path)
    for number, row in lines:
        try:
            values = [row[column] for column in columns]
        except (LookupError, TypeError):
            wanted = ", ".join(str(column) for column in columns)
            raise DataError(f"{path}, line {number}: lacks one of the columns {wanted}; {REMEDY}") from None
        odd = [
            column for column, value in zip(columns, values, strict=True) if not isinstance(value, str | int | float)
        ]
        if odd:
            raise DataError(f"{path}, line {number}: {odd[0]} is neither text nor a number; {REMEDY}")
        yield number, [value if isinstance(value, str) else json.dumps(value) for value in values]


def _objects(content: str, path: Path) -> Iterator[tuple[int, dict[Column, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                yield number, parsed_json(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: is not JSON ({error}); {REMEDY}") from error


def _cells(
    content: str, form: Format, header: bool, columns: Sequence[Column], path: Path
) -> Iterator[tuple[int, Any]]:
    """Each row by the header's names, or by number. All must be as long as the first one."""
    if form == "tsv":
        lines = ((number, line.rstrip("\r")) for number, line in enumerate(content.split("\n"), 1))
        rows = ((number, line.split("\t")) for number, line in lines if line)
    else:
        rows = _strict(content, path)
    found = list(rows)
    first = found[0][1] if found else []
    names: Sequence[Column] = range(len(first))
    if header:
        names, found = first, found[1:]
        _require_columns(columns, first, path)
    torn = [(number, len(cells)) for number, cells in found if len(cells) != len(names)]
    if torn:
        number, count = torn[0]
        others = ", ".join(str(line) for line, _ in torn[1 : 1 + NAMED]) + (", ..." if len(torn) > 1 + NAMED else "")
        also = f" (further lines that do not fit it: {others})" if others else ""
        what = "header" if header else "first row"
        raise DataError(f"{path}, line {number}: has {count} columns, its {what} {len(names)}{also}; {REMEDY}")
    for number, cells in found:
        yield number, dict(zip(names, cells, strict=True))


def _require_columns(columns: Sequence[Column], names: Sequence[str], path: Path) -> None:
    """`DataError` unless the header has each of the columns once."""
    unknown = [column for column in columns if column not in names]
    if unknown:
        known = ", ".join(map(repr, names)) or "an empty line"
        raise DataError(f"{path}: has no column {unknown[0]!r}, only {known}; {REMEDY}")
    double = [column for column in columns if sum(name == column for name in names) > 1]
    if double:
        raise DataError(f"{path}: has several columns {double[0]!r}; rename all but one of them")


def _strict(content: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(content), strict=True)
    # The module's limit is for all of the process; texts may be longer, though not longer than their file.
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: is not comma-separated text ({error}); {REMEDY}") from error
    finally:
        csv.field_size_limit(limit)
    return iter(rows)
