"""What made a file: the record that every artefact carries, its identity, and how two records differ."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import StringConstraints

from certflow.errors import ArtefactError
from certflow.files.intact import reading
from certflow.kinds.spec import Record, canonical_json, digest

PACKAGES = ("torch", "numpy", "scipy", "pandas", "timm", "transformers", "diffusers")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


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
