"""What a model file of ours says about itself, read without torch and without reading its weights."""

import json
from pathlib import Path

from lib.artefact import Provenance
from lib.errors import ArtefactError
from lib.spec import canonical_json

KEY = "certflow.model"
"""The one entry of the file's metadata. One, because safetensors writes several in no fixed order."""


def to_metadata(provenance: Provenance, weights: str) -> dict[str, str]:
    """Metadata of a model file; `weights` is the digest of its tensors."""
    return {KEY: canonical_json({"provenance": provenance.to_json(), "weights": weights})}


def from_metadata(metadata: dict[str, str] | None, path: str | Path) -> tuple[Provenance, str]:
    """The provenance and the digest of the weights."""
    if not metadata or KEY not in metadata:
        raise ArtefactError(
            f"{path}: is not one of our model files (no provenance in it); bring weights made elsewhere by a method entry "
            f"of kind external, or by lib.models.load_checkpoint"
        )
    try:
        record = json.loads(metadata[KEY])
        text, weights = record["provenance"], record["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: its provenance record is unreadable; delete the file and run again") from error
    return Provenance.from_json(text, path), weights


def read_header(path: str | Path) -> tuple[Provenance, str]:
    """The provenance and the digest of the weights of a model file, which are not read and so not compared with it."""
    try:
        metadata = _metadata(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: is missing") from error
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: is damaged ({error}); delete it and run again") from error
    return from_metadata(metadata, path)


def is_ours(path: str | Path) -> bool:
    """Whether a file is a model file of ours, as far as its header tells."""
    try:
        return KEY in (_metadata(path) or {})
    except (OSError, ValueError):
        return False


def _metadata(path: str | Path) -> dict[str, str] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata()
    except SafetensorError as error:
        raise ValueError(str(error)) from error
