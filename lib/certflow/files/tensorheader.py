"""What a safetensors file written by certflow says about itself, read without torch and without reading its tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError
from certflow.files.intact import opened, reading
from certflow.files.provenance import Provenance

KEY = "certflow"
"""The one entry of the file's metadata. One, because safetensors writes several in no fixed order."""
CONTENT = "tensors"
"""How the record names the digest of the tensors."""


def to_metadata(provenance: Provenance, tensors: str) -> dict[str, str]:
    """Metadata of a file; `tensors` is the digest of its tensors."""
    return {KEY: provenance.to_json({CONTENT: tensors})}


def from_metadata(metadata: dict[str, str] | None, path: str | Path) -> tuple[Provenance, dict[str, str]]:
    """The provenance, and what it says of its content."""
    if not metadata or KEY not in metadata:
        raise ArtefactError(
            f"{path}: is not one of our model files (no provenance in it); bring weights made elsewhere by a method entry "
            f"of kind external, or by certflow.models.load_checkpoint"
        )
    return Provenance.from_json(metadata[KEY], path)


def read_metadata(path: str | Path) -> dict[str, str] | None:
    """A safetensors file's metadata; an `ArtefactError` where the file is damaged or missing."""
    with reading_tensors(path), open_tensors(path, "numpy") as file:
        return file.metadata()


@contextmanager
def reading_tensors(path: str | Path) -> Iterator[None]:
    """As `certflow.files.intact.reading`, with the library's own error."""
    from safetensors import SafetensorError

    with reading(path):
        try:
            yield
        except SafetensorError as error:
            raise ValueError(error) from error


def open_tensors(path: str | Path, framework: str) -> Any:
    """The file, open. A regular file only: the library would wait for a pipe."""
    from safetensors import safe_open

    with opened(path):
        return safe_open(path, framework=framework)
