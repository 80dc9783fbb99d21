"""Figures as files: what they were drawn from, and reading them again. Without matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certflow.files.artefact import read_picture
from certflow.files.contents import content
from certflow.report.lines import Line, SeedTable

FORMAT = "figure"
TABLE_ALONE = ("title", "remark", "envelope")
"""What of `Study.table_spec` the table and the page say: no figure shows it."""


def tables_of(lines: Sequence[Line]) -> dict[str, str]:
    """Path of each table behind the lines → its digest; of a table made elsewhere, that of the file."""
    return {str(entry.path): _digest(entry) for line in lines for entry in line.seeds}


def _digest(entry: SeedTable) -> str:
    return (content(entry.path) or "") if entry.provenance is None else entry.provenance.digest


def drawn_from(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of the figure `name` states as its specification. spec: `Study.figure_spec`."""
    return {**spec, "figure": name}


def read_figure(path: str | Path, spec: Mapping[str, Any] | None = None, lines: Sequence[Line] | None = None) -> bytes:
    """The bytes of a drawn figure; `ArtefactError` where it is damaged, or is drawn from another specification than `spec`
    or from other tables than `lines` (those that are given)."""
    parents = None if lines is None else tables_of(lines)
    return read_picture(path, format=FORMAT, spec=spec, parents=parents)[0]
