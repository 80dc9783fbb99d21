"""Figures as files: which tables they were drawn from, and reading them again. Without matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from lib.artefact import file_digest, read_picture
from lib.report.lines import Line, SeedTable

FORMAT = "figure"


def tables_of(lines: Sequence[Line]) -> dict[str, str]:
    """Path of each table behind the lines → its digest; of a table made elsewhere, that of the file."""
    return {str(entry.path): _digest(entry) for line in lines for entry in line.seeds}


def _digest(entry: SeedTable) -> str:
    if entry.provenance is not None:
        return entry.provenance.digest
    return file_digest(entry.path) if entry.path.exists() else ""


def read_figure(path: str | Path, lines: Sequence[Line] | None = None) -> bytes:
    """The bytes of a figure of ours; `ArtefactError` where it is damaged, or is drawn from other tables than `lines`."""
    expected = {} if lines is None else {"parents": tables_of(lines)}
    return read_picture(path, format=FORMAT, **expected)[0]
