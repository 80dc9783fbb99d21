"""What one of our model files says about itself, read without torch and without reading its weights."""

from pathlib import Path

from certflow.errors import ArtefactError
from certflow.files.provenance import Provenance
from certflow.files.tensorheader import CONTENT, KEY, from_metadata, read_metadata
from certflow.kinds.spec import digest

CARRIED = "model_warnings"
"""Name of the note under which warnings about a model travel to counts, certificates, tables and pages."""


def identity(provenance: Provenance, weights: str) -> str:
    """What others name a model by: a digest of its weights and of the facts that decide its function besides its spec."""
    return digest({"weights": weights, "facts": provenance.facts})


def read_header(path: str | Path) -> tuple[Provenance, str]:
    """The provenance and the identity of a model file; its weights are not read and so not compared with their digest."""
    provenance, content = from_metadata(read_metadata(path), path)
    if CONTENT not in content:
        raise ArtefactError(f"{path}: does not state the digest of its weights; delete it and run again")
    return provenance, identity(provenance, content[CONTENT])


def carried_warnings(*records: Provenance) -> dict[str, list[str]]:
    """Notes for what is made from models: what was found wrong with them when they were made; empty where nothing was."""
    found = [line for record in records for key in ("warnings", CARRIED) for line in record.notes.get(key, [])]
    return {CARRIED: list(dict.fromkeys(found))} if found else {}


def is_ours(path: str | Path) -> bool:
    """Whether a file's header says that certflow wrote it as a model."""
    try:
        return KEY in (read_metadata(path) or {})
    except ArtefactError:
        return False
