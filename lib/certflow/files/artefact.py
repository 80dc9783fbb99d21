"""Writing and reading files that say what made them.

Every artefact carries a provenance record: its format, the specification that was asked for with its digest, the digests of
the artefacts it was made from, the versions and the device. It is written beside or inside the file, atomically, and checked
by every reader, which refuses a file made from another specification and names both.

Nothing that a file says is used before it was compared with a checksum. The record has one over all of its fields; a table or
picture is hashed in the record beside it, tensors in the record among them, and an array file has one over all of its bytes.
Whatever is wrong with a file, a reader raises `ArtefactError`.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from pydantic import StringConstraints

from certflow.errors import ArtefactError
from certflow.files.formats import FORMATS, Typed, require_container, require_layout
from certflow.files.intact import digest_of, opened, read_bounded, reading
from certflow.files.opening import create_new, open_plain, require_place
from certflow.files.parts import part_path, remove_abandoned_parts
from certflow.kinds.spec import Record, canonical_json, digest

if TYPE_CHECKING:
    from certflow.files.npz import Packed

PACKAGES = ("torch", "numpy", "scipy", "pandas")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, empty at first; renamed to `path` on success, deleted on any error.

    A reader therefore sees the whole file or none. The data are flushed to disk before the rename, and a full disk is
    reported with the path, leaving nothing half-written behind. What a killed process of this host has left of an earlier
    try is removed. Where another user has put a link in the way, nothing is written through it (`certflow.files.opening`).
    """
    path = Path(path)
    require_place(path)
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_parts(path)
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


def versions() -> dict[str, str]:
    """Versions of Python and of the packages whose arithmetic enters our results, without importing them."""
    known = {name: _installed(name) for name in PACKAGES}
    return {"python": platform.python_version(), **{name: found for name, found in known.items() if found is not None}}


@cache
def _installed(package: str) -> str | None:
    """The version of a package, None where it is not installed. Remembered: looking takes milliseconds for every record."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _Stored(Record):
    """How a record lies in a file: the fields of `Provenance`, what it accompanies, and checksums."""

    format: str
    format_version: int
    spec: dict[str, Any]
    parents: dict[str, str]
    facts: dict[str, Any]
    versions: dict[str, str]
    device: str
    notes: dict[str, Any]
    digest: Sha256
    content: dict[str, Sha256]
    """SHA-256 of what is not in the record itself: of files beside it by their endings, or of `tensors`."""
    checksum: Sha256
    """SHA-256 of the canonical JSON of all other fields."""


@dataclass(frozen=True)
class Provenance:
    """What made a file: `format` (such as "counts"), the `spec` asked for, `parents` (name → digest) and circumstances.

    `spec` decides whether a file is the one that a reader wants. `facts` were found out on the way and decide what the file
    means, such as the noise schedule in a denoiser brought along. `versions`, `device` and `notes` are recorded, not compared.
    All of it is under the file's checksum.
    """

    format: str
    spec: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    device: str = "cpu"
    notes: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of format, spec, parents and facts: the identity of the artefact, whatever machine made it."""
        return digest(
            {
                "format": self.format,
                "format_version": self.format_version,
                "spec": self.spec,
                "parents": self.parents,
                "facts": self.facts,
            }
        )

    def to_json(self, content: Mapping[str, str] | None = None) -> str:
        """The record as it is stored. content: SHA-256 of what it accompanies, by name."""
        stated = {**asdict(self), "digest": self.digest, "content": dict(content or {})}
        return canonical_json({**stated, "checksum": digest(stated)})

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path) -> tuple["Provenance", dict[str, str]]:
        """A stored record and what it says of its content; an `ArtefactError` where it is damaged or was altered."""
        with reading(path):
            stated = json.loads(text)
            stored = _Stored.model_validate(stated)
            del stated["checksum"]
            record = cls(**{one.name: getattr(stored, one.name) for one in fields(cls)})
            altered = digest(stated) != stored.checksum or record.digest != stored.digest
        if altered:
            raise ArtefactError(
                f"{path}: its provenance record was altered after writing; delete the file and run again"
            )
        return record, stored.content

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
    """Where the provenance of a table or of pictures lies: the same name with the ending `.json`."""
    return Path(path).with_suffix(".json")


def write_record(path: str | Path, provenance: Provenance, content: Mapping[str, str] | None = None) -> None:
    """Write a record as a file of its own, for people to read too. content: as in `Provenance.to_json`."""
    with atomic(path) as part:
        part.write_text(json.dumps(json.loads(provenance.to_json(content)), indent=1, sort_keys=True) + "\n")


def read_record(path: str | Path, *, absent: str = "run the step that makes it", **expected: Any) -> Provenance:
    """A record that is a file of its own; `expected` (format, spec, parents) is checked. absent: what to do without it."""
    with reading(path, absent=absent):
        text = read_bounded(path)
    return _required(Provenance.from_json(text, path)[0], path, expected)


def write_table(path: str | Path, table: Any, provenance: Provenance) -> None:
    """Write a pandas DataFrame as tab-separated text, full float precision, with its provenance in `sidecar(path)`."""
    write_text_table(path, table.to_csv(sep="\t", index=False, lineterminator="\n"), provenance)


def write_text_table(path: str | Path, text: str, provenance: Provenance) -> None:
    """Write a table that is text already, with its provenance in `sidecar(path)`.

    The sidecar also records the SHA-256 of the table, so that an edited or truncated table is noticed.
    """
    require_container(provenance.format, "table")
    content = text.encode()
    with atomic(path) as part:
        part.write_bytes(content)
    write_record(sidecar(path), provenance, {Path(path).suffix: hashlib.sha256(content).hexdigest()})


def read_provenance(path: str | Path) -> Provenance:
    """The provenance of a table or picture, after checking the file's bytes against it."""
    with _beside(path) as (_, provenance):
        return provenance


def read_table(path: str | Path, *, text: Sequence[str] = (), **expected: Any) -> tuple[Any, Provenance]:
    """The DataFrame and provenance of a table; `expected` (format, spec, parents) is checked first.

    text: columns that hold text even where all of it looks like numbers or is empty.
    """
    import pandas as pd

    with _beside(path) as (file, provenance):
        _required(provenance, path, expected)
        with reading(path):
            # pandas 3.1 and later read every float64 exactly.
            table = pd.read_csv(file, sep="\t", dtype=dict.fromkeys(text, str), encoding="utf-8")
            table = table.assign(**{name: table[name].fillna("") for name in text})
        _require_layout(path, provenance, {name: (table[name].dtype.kind, (len(table),)) for name in table})
    return table, provenance


def write_pictures(paths: Sequence[str | Path], contents: Sequence[bytes], provenance: Provenance) -> None:
    """Write files that differ in their endings only, such as one figure as svg and pdf, and one record beside them."""
    require_container(provenance.format, "pictures")
    if len({sidecar(path) for path in paths}) > 1:
        raise ValueError(f"{', '.join(map(str, paths))}: only files of one name share a record")
    for path, content in zip(paths, contents, strict=True):
        with atomic(path) as part:
            part.write_bytes(content)
    hashes = {Path(path).suffix: hashlib.sha256(one).hexdigest() for path, one in zip(paths, contents, strict=True)}
    write_record(sidecar(paths[0]), provenance, hashes)


def read_picture(path: str | Path, **expected: Any) -> tuple[bytes, Provenance]:
    """The bytes and provenance of a picture that `write_pictures` wrote."""
    with _beside(path) as (file, provenance):
        _required(provenance, path, expected)
        return file.read(), provenance


def write_arrays(path: str | Path, arrays: Mapping[str, Any], provenance: Provenance) -> None:
    """Write numpy arrays and their provenance into one `.npz` file (compressed, never pickled; see `certflow.files.npz`)."""
    from certflow.files.npz import pack

    require_container(provenance.format, "arrays")
    with atomic(path) as part, open(part, "w+b") as file:
        pack(file, arrays, provenance.to_json())


def read_arrays(path: str | Path, **expected: Any) -> tuple[dict[str, Any], Provenance]:
    """The arrays and provenance of a file written by `write_arrays`; `expected` is checked as in `read_table`."""
    with _open(path) as file:
        packed, provenance = _unpacked(path, file)
        _required(provenance, path, expected)
        _require_layout(path, provenance, {name: (t.kind, shape) for name, (t, shape) in packed.headers.items()})
        with reading(path):
            return packed.arrays(), provenance


def read_arrays_record(path: str | Path) -> Provenance:
    """The provenance of a file written by `write_arrays`, which is checked as a whole; its arrays are not unpacked."""
    with _open(path) as file:
        return _unpacked(path, file)[1]


def _unpacked(path: str | Path, file: BinaryIO) -> tuple["Packed", Provenance]:
    """An array file after comparing all of its bytes with their checksum, and its record."""
    from certflow.files.npz import Packed, require_intact

    with reading(path):
        require_intact(file)
        packed = Packed(file)
    return packed, Provenance.from_json(packed.record, path)[0]


@contextmanager
def _open(path: str | Path) -> Iterator[BinaryIO]:
    """A file that is there, open; what is done with it is not guarded."""
    with ExitStack() as stack:
        with reading(path):
            file = stack.enter_context(opened(path))
        yield file


@contextmanager
def _beside(path: str | Path) -> Iterator[tuple[BinaryIO, Provenance]]:
    """A file whose record lies beside it, open at its start after comparing its bytes with the record."""
    with reading(sidecar(path), absent=f"delete {path} and run again"):
        text = read_bounded(sidecar(path))
    provenance, content = Provenance.from_json(text, sidecar(path))
    with _open(path) as file:
        with reading(path):
            found = digest_of(file)
            file.seek(0)
        if found != content.get(Path(path).suffix):
            raise ArtefactError(f"{path}: differs from what was written (edited or truncated); delete it and run again")
        yield file, provenance


def _required(provenance: Provenance, path: str | Path, expected: Mapping[str, Any]) -> Provenance:
    return provenance.require(path, **expected) if expected else provenance


def _require_layout(path: str | Path, provenance: Provenance, found: Mapping[str, Typed]) -> None:
    """`ArtefactError` for a file that is intact and does not hold what its format needs."""
    if provenance.format not in FORMATS:
        raise ArtefactError(f"{path}: is of an unknown format {provenance.format!r}; delete it and run again")
    try:
        require_layout(provenance.format, found)
    except ValueError as error:
        raise ArtefactError(f"{path}: is not a valid {provenance.format} ({error}); delete it and run again") from error
