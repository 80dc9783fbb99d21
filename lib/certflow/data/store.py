"""Preparing a dataset once, and opening it from then on in milliseconds: the manifest says what it is, the cache holds it.

The manifest (JSON) is the artefact that other stages depend on: the specification, a digest of the content of each split,
the source files with their SHA-256. The cache lies outside the results and may be deleted: it is rebuilt from the source and
must then have the same content.
"""

from importlib.metadata import version
from pathlib import Path

from certflow.data import cache
from certflow.data.base import DatasetSpec, Split, SplitName
from certflow.data.cache import Entry
from certflow.data.source import data_root, missing
from certflow.data.splits import ArraySplit
from certflow.data.tree import TreeDataset, TreeSplit
from certflow.errors import DataError
from certflow.files.artefact import read_record, write_record
from certflow.files.provenance import Provenance
from certflow.kinds.spec import digest

FORMAT = "dataset"


def prepare(spec: DatasetSpec, manifest: str | Path) -> None:
    """Read and verify all source files, fill the cache, and write the manifest; `DataError` where a file is wrong."""
    contents, details = {}, {}
    for name in spec.splits():
        split = _read(spec, name)
        entry = cache.store(split, spec.info())
        contents[name] = entry.content
        details[name] = {
            "images": len(split),
            "source": split.name,
            "listing": entry.listing,
            "files": [file.record() for file in split.files] if isinstance(split, ArraySplit) else [],
            **getattr(split, "notes", {}),
        }
    notes = {"splits": details, "pillow": version("pillow")}
    record = Provenance(format=FORMAT, spec=spec.canonical(), parents=contents, notes=notes)
    write_record(manifest, record)


def open_split(spec: DatasetSpec, manifest: str | Path, split: SplitName) -> Split:
    """A split of a prepared dataset, with the content that the manifest states or not at all.

    Rebuilds the cache from the source files where it is gone. `ArtefactError`: the manifest is missing, damaged or of another
    dataset, or the cache was altered; `DataError`: the source files are needed and not the same any more.
    """
    record = read_manifest(manifest).require(manifest, format=FORMAT, spec=spec.canonical())
    if split not in record.parents:
        raise DataError(
            f"{manifest}: has no {split} split, only {', '.join(record.parents)}; see `only` in the dataset's entry"
        )
    entry = Entry(record.parents[split], record.notes["splits"][split]["listing"])
    try:
        return _load(spec, entry, record.notes["splits"][split]["source"])
    except FileNotFoundError:
        cache.store(_read(spec, split), spec.info(), expected=entry)
        return _load(spec, entry, record.notes["splits"][split]["source"])


def content_digest(manifest: str | Path, split: SplitName | None = None) -> str:
    """SHA-256 (hex) of the content of one split, or of all splits together: what artefacts made from the data state."""
    contents = dict(read_manifest(manifest).parents)
    if split is None:
        return digest(contents)
    if split not in contents:
        raise DataError(f"{manifest}: has no {split} split, only {', '.join(contents)}")
    return contents[split]


def read_manifest(manifest: str | Path) -> Provenance:
    """The manifest's record, after checking that it was not altered."""
    return read_record(manifest, absent="prepare the dataset first", format=FORMAT)


def _read(spec: DatasetSpec, name: SplitName) -> ArraySplit | TreeSplit:
    """The split from its source files, with the number of images that the spec promises."""
    split = spec.read(name, data_root(spec))
    size = spec.info().size
    if size is not None and len(split) != size[name]:
        raise DataError(
            f"{split.name}: has {len(split)} images, the {name} split of {spec.kind} has {size[name]}; files are missing or "
            f"superfluous"
        )
    return split


def _load(spec: DatasetSpec, entry: Entry, name: str) -> Split:
    info, root = spec.info(), data_root(spec)
    if info.streams and not root.is_dir():
        raise missing(spec, root, "the folder of image files it was prepared from", downloadable=False)
    rendering = spec.rendering() if isinstance(spec, TreeDataset) and info.streams else None
    return cache.load(entry, info, name, root, rendering)
