"""What a job keeps on disk besides its arrays: records, and rows that are appended one by one; all under checksums."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError
from certflow.files.artefact import read_record, write_record
from certflow.files.atomic import atomic
from certflow.files.intact import read_bounded, reading
from certflow.files.provenance import Provenance

MARK = "\t"
"""Between a row and its checksum; no row has one, for JSON writes it as \\t."""


def write_kept(path: Path, format: str, job: str, content: Any) -> None:
    """Write plain values that belong to a job, as a record."""
    write_record(path, Provenance(format=format, spec={"job": job, "content": content}))


def read_kept(path: Path, format: str, job: str) -> Any:
    """What `write_kept` wrote; an `ArtefactError` where it is damaged, of another job, or not there."""
    spec = read_record(path, format=format, absent=f"delete {path.parent}").spec
    if spec.get("job") != job or "content" not in spec:
        raise ArtefactError(f"{path}: belongs to another job; delete {path.parent}")
    return spec["content"]


class Rows:
    """Rows of a job in a file, one on each line with a checksum of itself, the job, and all rows before it.

    A kill may cut a last line off, which is then as if it had not been written. A whole line that is not as it was written, or
    not in its place, is an `ArtefactError`.
    """

    def __init__(self, path: Path, job: str):
        self.path, self.start = path, f"{job} {path.name}"
        self._last: str | None = None
        """Checksum of the last row; None before the first is appended. Whoever appends has it: others read meanwhile."""

    def read(self) -> list[dict[str, Any]]:
        """The rows, plain values."""
        return [row for row, _ in self._checked()]

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one more row."""
        if self._last is None:
            self._last = next((last for _, last in reversed(list(self._checked()))), self.start)
        line, last = _line(row, self._last)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise ArtefactError(
                f"{self.path}: could not be written ({error.strerror}); mend that, and continue the job"
            ) from error
        self._last = last

    def replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write these rows instead, at once."""
        lines, last = [], self.start
        for row in rows:
            line, last = _line(row, last)
            lines.append(line)
        with atomic(self.path) as part:
            part.write_text("".join(lines), encoding="utf-8")
        self._last = last

    def _checked(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Each row, and the checksum of its line."""
        if not self.path.exists():
            return
        with reading(self.path, remedy=f"delete {self.path.parent}"):
            *lines, _ = read_bounded(self.path).decode("utf-8").split("\n")
            last = self.start
            for number, line in enumerate(lines, 1):
                text, _, found = line.rpartition(MARK)
                last = _checksum(text, last)
                if found != last:
                    raise ValueError(f"line {number} differs from what was written")
                yield json.loads(text), last


def _line(row: Mapping[str, Any], last: str) -> tuple[str, str]:
    """The line of a row after one with the checksum `last`, and its own."""
    text = json.dumps(row, allow_nan=False)
    found = _checksum(text, last)
    return f"{text}{MARK}{found}\n", found


def _checksum(text: str, last: str) -> str:
    return hashlib.sha256(f"{last}\n{text}".encode()).hexdigest()
