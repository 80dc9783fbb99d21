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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from certflow.errors import ArtefactError
from certflow.files.atomic import atomic
from certflow.files.formats import FORMATS, Typed, require_container, require_layout, texts_of
from certflow.files.intact import digest_of, opened, read_bounded, reading
from certflow.files.provenance import Provenance

if TYPE_CHECKING:
    from certflow.files.npz import Packed


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


def read_table(path: str | Path, **expected: Any) -> tuple[Any, Provenance]:
    """The DataFrame and provenance of a table; `expected` (format, spec, parents) is checked first."""
    import pandas as pd

    with _beside(path) as (file, provenance):
        _required(provenance, path, expected)
        with reading(path):
            # What is unknown is written as nothing: "NA" and "null" are names. pandas 3.1 and later read every float64 exactly.
            texts: Any = dict.fromkeys(texts_of(provenance.format), str)
            table = pd.read_csv(file, sep="\t", dtype=texts, keep_default_na=False, na_values=[""], encoding="utf-8")
            table = table.assign(**{name: table[name].fillna("") for name in texts if name in table})
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
