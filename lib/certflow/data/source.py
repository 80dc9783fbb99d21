"""Source files: where they are looked for, how they are verified, and the error where they are missing."""

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from certflow.data.base import DatasetSpec
from certflow.errors import DataError
from certflow.files.intact import file_digest


@dataclass(frozen=True)
class SourceFile:
    """One file that a split was read from; `path` is relative to the dataset's root."""

    path: str
    bytes: int
    sha256: str

    def record(self) -> dict[str, str | int]:
        return asdict(self)


def source_file(path: Path, root: Path) -> SourceFile:
    """The record of a file below `root`."""
    return SourceFile(path.relative_to(root).as_posix(), path.stat().st_size, file_digest(path))


class Rooted(Protocol):
    """What has a folder of source files: a dataset, or corrupted copies."""

    @property
    def kind(self) -> str: ...

    @property
    def root(self) -> str | None: ...


def data_root(spec: Rooted) -> Path:
    """The folder that source files are looked for in: its `root`, else `$CERTFLOW_DATA/<kind>`, else `data/<kind>`."""
    if spec.root is not None:
        return _expanded(spec.root)
    return _expanded(os.environ.get("CERTFLOW_DATA") or "data") / spec.kind


def cache_root() -> Path:
    """The folder that decoded images are kept in: `$CERTFLOW_CACHE`, else `data/cache`."""
    return _expanded(os.environ.get("CERTFLOW_CACHE") or "data/cache")


def _expanded(path: str) -> Path:
    """The path with the user's home folder for `~`."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: this system has no such home folder; set HOME, or write the path in full") from error


def missing(spec: DatasetSpec, path: Path, wanted: str, *, downloadable: bool = True) -> DataError:
    """The error for source files that are not there: where they were looked for, which they are, how to mend it."""
    remedy = (
        f"Put them there, or name their folder in `datasets.<name>.root` (on the command line: --root), or set CERTFLOW_DATA "
        f"to the folder that holds `{spec.kind}/`"
    )
    if downloadable:
        remedy += ", or let certflow fetch them with `download: true` in the configuration"
    around = "" if path.is_absolute() else f" in the working directory {Path.cwd()}"
    return DataError(f"{path}: not found{around}; a dataset of kind {spec.kind} needs {wanted}. {remedy}.")


def md5(path: Path) -> str:
    """MD5 (hex) of a file: the checksum that the publishers of MNIST, Fashion-MNIST and CIFAR state."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
