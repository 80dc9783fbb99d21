"""The models of the pipeline that lie in a folder of results, from their headers: no weights are read."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError, DataError
from certflow.models.header import carried_warnings, read_header

PATTERN = "train/**/model.safetensors"


@dataclass(frozen=True)
class Entry:
    """One model file."""

    path: Path
    identity: str
    """SHA-256 of weights and of what decides their function."""
    made: dict[str, Any]
    """The specification it was made from: `dataset`, `model`, `method`, `noise`, `seed` and more."""
    names: dict[str, str]
    """The same in short: kinds of dataset, model and method, and the noise with its sigma."""
    size: int
    """Bytes."""
    modified: datetime
    warnings: tuple[str, ...] = ()


def require_folder(results: str | Path) -> None:
    """`DataError` where `results` is something other than a folder; a missing one is made by the pipeline."""
    if os.path.lexists(results) and not os.path.isdir(results):
        raise DataError(f"--results {results}: is not a folder; name the one that the pipeline writes to")


def models(results: str | Path) -> Iterator[Entry]:
    """The pipeline's models below `results`/train, sorted by path. Files that vanish or cannot be read are passed over: the
    workflow may be writing there. So are those that do not say what they were made from as this version does."""
    for path in sorted(Path(results).glob(PATTERN)):
        try:
            yield _entry(path)
        except (ArtefactError, OSError, KeyError, TypeError, ValueError):
            continue


def _entry(path: Path) -> Entry:
    record, identity = read_header(path)
    about = path.stat()
    return Entry(
        path=path,
        identity=identity,
        made=dict(record.spec),
        names=_names(record.spec),
        size=about.st_size,
        modified=datetime.fromtimestamp(about.st_mtime, UTC),
        warnings=tuple(line for lines in carried_warnings(record).values() for line in lines),
    )


def _names(made: Mapping[str, Any]) -> dict[str, str]:
    kinds = {key: str(made[key]["kind"]) for key in ("dataset", "model", "method")}
    noise = made["noise"]
    return {**kinds, "noise": f"{noise['kind']}:{noise['sigma']:g}", "seed": str(made.get("seed", ""))}
