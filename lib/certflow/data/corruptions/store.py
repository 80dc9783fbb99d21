"""Corrupted copies prepared once and opened from then on, like a dataset: a manifest with digests, pixels in the cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.data import cache
from certflow.data.base import DatasetSpec, Split
from certflow.data.cache import Entry
from certflow.data.corruptions.base import CorruptionSpec
from certflow.data.splits import ArraySplit, positions
from certflow.data.store import content_digest, open_split
from certflow.errors import DataError
from certflow.files.artefact import read_record, write_record
from certflow.files.provenance import Provenance

if TYPE_CHECKING:
    from certflow.data.subset import Images

FORMAT = "corrupted images"


@dataclass(frozen=True)
class Corrupted:
    """One corruption of an entry, and its manifest: what a job needs in order to open the copies."""

    spec: CorruptionSpec
    name: str
    manifest: str | Path

    def open(self, dataset: DatasetSpec, clean_manifest: str | Path) -> tuple["Copies", str]:
        """The copies of the dataset's test images, and the digest of their content.

        Rebuilds the cache where it is gone. `ArtefactError` for a manifest of other copies or of other clean images.
        """
        record = read_manifest(self.manifest)
        wanted = {"dataset": dataset.canonical(), "corruption": self.spec.of(self.name)}
        record.require(self.manifest, format=FORMAT, spec=wanted)
        if record.parents["clean"] != content_digest(clean_manifest, "test"):
            raise DataError(
                f"{self.manifest}: its copies are of other images than {clean_manifest}; delete it and run again"
            )
        entry, info = Entry(record.parents["images"], None), dataset.info()
        name = f"{self.name} of {clean_manifest}"
        try:
            found = cache.load(entry, info, name, self.spec.folder, None)
        except FileNotFoundError:
            clean = open_split(dataset, clean_manifest, "test")
            cache.store(_read(self.spec, self.name, clean, info)[0], info, expected=entry)
            found = cache.load(entry, info, name, self.spec.folder, None)
        return Copies(found, self.spec.levels(), record.notes["clean_images"], self.name), entry.content


@dataclass(frozen=True)
class Copies:
    """A split of corrupted copies, numbered as `CorruptionSpec` says; only the severities of `levels` are there."""

    split: Split
    levels: tuple[int, ...]
    clean_images: int
    """Images of the clean test split."""
    name: str

    def __len__(self) -> int:
        """One more than the largest number."""
        return max(self.levels) * self.clean_images

    @property
    def labels(self) -> np.ndarray:
        """int64 [len(self)]"""
        return np.tile(self.split.labels[: self.clean_images], max(self.levels))

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [k, channels, height, width]"""
        severity, image = np.divmod(positions(indices, len(self)), self.clean_images)
        place = {level - 1: i for i, level in enumerate(self.levels)}
        missing = set(severity.tolist()) - place.keys()
        if missing:
            raise IndexError(f"{self.name}: severity {min(missing) + 1} was not prepared, only {list(self.levels)}")
        rows = np.array([place[s] for s in severity.tolist()], np.int64) * self.clean_images + image
        return self.split.read(rows)

    def describe(self, index: int) -> str:
        severity, image = divmod(index, self.clean_images)
        return f"{self.name} at severity {severity + 1} of test image {image}"

    def indices(self, images: "Images") -> np.ndarray:
        """Numbers of the copies, at every severity, of the test images that a rule chooses: int64, ascending."""
        chosen = images.indices(self.clean_images)
        return np.concatenate([(level - 1) * self.clean_images + chosen for level in self.levels])


def prepare_corrupted(
    spec: CorruptionSpec, name: str, dataset: DatasetSpec, *, clean_manifest: str | Path, manifest: str | Path
) -> None:
    """Read or compute the copies of one corruption, put them into the cache, and write their manifest."""
    info, clean = dataset.info(), open_split(dataset, clean_manifest, "test")
    copies, files = _read(spec, name, clean, info)
    entry = cache.store(copies, info)
    record = Provenance(
        format=FORMAT,
        spec={"dataset": dataset.canonical(), "corruption": spec.of(name)},
        parents={"clean": content_digest(clean_manifest, "test"), "images": entry.content},
        notes={
            "clean_images": len(clean),
            "severities": list(spec.levels()),
            "files": [file.record() for file in files],
            "pillow": version("pillow"),
        },
    )
    write_record(manifest, record)


def read_manifest(manifest: str | Path) -> Provenance:
    """The manifest's record, after checking that it was not altered."""
    return read_record(manifest, absent="prepare the corrupted images first", format=FORMAT)


def same_corruption(images: Mapping[str, Any], corrupted: Corrupted | None) -> bool:
    """Whether a specification of images (`Study.images_spec`) asks for these copies, or for clean images if None."""
    return images.get("corruption") == (None if corrupted is None else corrupted.spec.of(corrupted.name))


def _read(spec: CorruptionSpec, name: str, clean: Split, info: Any) -> tuple[ArraySplit, list]:
    pixels, files = spec.read(name, clean, info)
    return ArraySplit(pixels, np.tile(clean.labels, len(spec.levels())), name=f"{name} copies", files=files), files
