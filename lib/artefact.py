"""Writing and reading files that say what made them.

Every artefact carries a provenance record: its format, the specification that was asked for with its digest, the digests of
the artefacts it was made from, the versions and the device. It is written beside or inside the file, atomically, and checked
by every reader, which refuses a file made from another specification and names both.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lib.errors import ArtefactError
from lib.opening import create_new, open_plain
from lib.parts import part_path, remove_abandoned_parts
from lib.spec import canonical_json, digest

PACKAGES = ("torch", "numpy", "scipy", "pandas")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, empty at first; renamed to `path` on success, deleted on any error.

    A reader therefore sees the whole file or none. The data are flushed to disk before the rename, and a full disk is
    reported with the path, leaving nothing half-written behind. What a killed process of this host has left of an earlier
    try is removed. Where another user has put a link in the way, nothing is written through it (`lib.opening`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned_parts(path)
    part = part_path(path)
    try:
        create_new(part)
        yield part
        _flush(part)
        os.replace(part, path)
    except OSError as error:
        _discard(part)
        raise ArtefactError(f"{path}: could not be written ({error.strerror or error}); nothing was changed") from error
    except BaseException:
        _discard(part)
        raise


def _discard(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # another user's, in a folder where only they may remove it; the error at hand says more
        pass


def _flush(part: Path) -> None:
    handle = open_plain(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages whose arithmetic enters our results, without importing them."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Provenance:
    """What made a file: `format` (such as "counts"), the `spec` asked for, `parents` (name → digest) and circumstances.

    `spec` decides whether a file is the one that a reader wants; `versions` and `device` are recorded, not compared.
    `notes` holds facts found out on the way, such as whether kernels were fused.
    """

    format: str
    spec: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    device: str = "cpu"
    notes: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = 1

    @property
    def digest(self) -> str:
        """SHA-256 of format, spec and parents: the identity of the artefact, whatever machine made it."""
        return digest(
            {
                "format": self.format,
                "format_version": self.format_version,
                "spec": self.spec,
                "parents": self.parents,
            }
        )

    def to_json(self) -> str:
        return canonical_json({**asdict(self), "digest": self.digest})

    @classmethod
    def from_json(cls, text: str, path: str | Path) -> "Provenance":
        try:
            fields = json.loads(text)
            found = fields.pop("digest")
            record = cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"{path}: its provenance record is unreadable; delete the file and run again"
            ) from error
        if record.digest != found:
            raise ArtefactError(
                f"{path}: its provenance record was altered after writing; delete the file and run again"
            )
        return record

    def require(
        self,
        path: str | Path,
        *,
        format: str,
        spec: Mapping[str, Any] | None = None,
        parents: Mapping[str, str] | None = None,
    ) -> "Provenance":
        """Self, if it is of that format, spec and parents (those that are given); else an error that names each difference."""
        if (self.format, self.format_version) != (format, Provenance.format_version):
            raise ArtefactError(
                f"{path}: is a {self.format!r} file of version {self.format_version}; a {format!r} file of version "
                f"{Provenance.format_version} is needed; delete it and run again"
            )
        wanted = {"spec": spec, "parents": parents}
        for name, expected in wanted.items():
            if expected is None:
                continue
            found = getattr(self, name)
            if canonical_json(found) != canonical_json(expected):
                changes = "; ".join(differences(found, expected))
                raise ArtefactError(f"{path}: was made from another {name} ({changes}); delete it and run again")
        return self


def circumstances(records: Sequence[Provenance]) -> dict[str, Any]:
    """`device` and `versions` of a file put together from others: every one that they were made on and under, joined by "; ".

    Counts of several devices or versions are equal in law, though not bit by bit, so that they are named and not refused: a
    cluster that was updated between two shards costs no shard.
    """
    packages = sorted({name for record in records for name in record.versions})
    return {
        "device": _joined(record.device for record in records),
        "versions": {name: _joined(record.versions.get(name, "none") for record in records) for name in packages},
    }


def _joined(names: Iterable[str]) -> str:
    return "; ".join(sorted({part for name in names for part in name.split("; ")}))


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Lines `key: file has a, asked for b` for every leaf in which two plain values differ."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        lines = []
        for key in sorted({*found, *wanted}):
            lines += differences(found.get(key), wanted.get(key), f"{path}.{key}" if path else str(key))
        return lines
    if isinstance(found, str) and isinstance(wanted, str) and len(found) == len(wanted) == 64:
        found_short, wanted_short = found[:12], wanted[:12]
        return [] if found == wanted else [f"{path}: file has {found_short}, asked for {wanted_short}"]
    return [] if found == wanted else [f"{path}: file has {found!r}, asked for {wanted!r}"]


def sidecar(path: str | Path) -> Path:
    """Where the provenance of a table lies: the same name with the ending `.json`."""
    return Path(path).with_suffix(".json")


def write_table(path: str | Path, table: Any, provenance: Provenance) -> None:
    """Write a pandas DataFrame as tab-separated text, full float precision, with its provenance in `sidecar(path)`."""
    write_text_table(path, table.to_csv(sep="\t", index=False, lineterminator="\n"), provenance)


def write_text_table(path: str | Path, text: str, provenance: Provenance) -> None:
    """Write a table that is text already, with its provenance in `sidecar(path)`.

    The sidecar also records the SHA-256 of the table, so that an edited or truncated table is noticed.
    """
    content = text.encode()
    with atomic(path) as part:
        part.write_bytes(content)
    record = {**json.loads(provenance.to_json()), "sha256": hashlib.sha256(content).hexdigest()}
    with atomic(sidecar(path)) as part:
        part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_provenance(path: str | Path) -> Provenance:
    """The provenance of a table written by `write_table`, after checking the table's bytes against it."""
    try:
        fields = json.loads(sidecar(path).read_text())
        checksum = fields.pop("sha256")
    except FileNotFoundError as error:
        raise ArtefactError(f"{sidecar(path)}: is missing; delete {path} and run again") from error
    except (ValueError, KeyError) as error:
        raise ArtefactError(f"{sidecar(path)}: is unreadable; delete it with {path} and run again") from error
    if not Path(path).exists():
        raise ArtefactError(f"{path}: is missing; run again to make it")
    if file_digest(path) != checksum:
        raise ArtefactError(f"{path}: differs from what was written (edited or truncated); delete it and run again")
    return Provenance.from_json(json.dumps(fields), sidecar(path))


def read_table(path: str | Path, **expected: Any) -> tuple[Any, Provenance]:
    """The DataFrame and provenance of a table; `expected` (format, spec, parents) is checked first."""
    import pandas as pd

    provenance = read_provenance(path)
    if expected:
        provenance.require(path, **expected)
    return pd.read_csv(path, sep="\t"), provenance  # pandas 3.1 and later read every float64 exactly


def write_arrays(path: str | Path, arrays: Mapping[str, Any], provenance: Provenance) -> None:
    """Write numpy arrays and their provenance into one `.npz` file (compressed, never pickled)."""
    import numpy as np

    with atomic(path) as part, open(part, "wb") as handle:
        np.savez_compressed(handle, **arrays, provenance=np.array(provenance.to_json()))


def read_arrays(path: str | Path, **expected: Any) -> tuple[dict[str, Any], Provenance]:
    """The arrays and provenance of a file written by `write_arrays`; `expected` is checked as in `read_table`."""
    import zipfile
    import zlib

    import numpy as np

    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = str(arrays.pop("provenance"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: is missing; run again to make it") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError) as error:
        raise ArtefactError(f"{path}: is damaged ({error}); delete it and run again") from error
    provenance = Provenance.from_json(text, path)
    if expected:
        provenance.require(path, **expected)
    return arrays, provenance
