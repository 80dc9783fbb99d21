"""Datasets published as the four idx files of MNIST: training and test images and labels."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from certflow.data.base import DatasetSpec, SplitName
from certflow.data.idx import parse_idx, read_bytes
from certflow.data.source import SourceFile, md5, missing, source_file
from certflow.data.splits import ArraySplit
from certflow.errors import DataError

PREFIX = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Checksum:
    """How the published file is known: by the MD5 of the .gz as distributed, or by the SHA-256 of what is inside.

    Mirrors compress anew, so the content's checksum is the better one; where it is not known (None) only the distributed
    .gz can be verified.
    """

    gz_md5: str
    content_sha256: str | None = None


class IdxDataset(DatasetSpec):
    """Base of the kinds that are four idx files; a subclass names them in `checksums`."""

    checksums: ClassVar[dict[str, Checksum]]
    """Name of each file without `.gz` → its checksum."""
    torchvision_class: ClassVar[str]
    """The class of torchvision.datasets that knows where to download."""

    def read(self, split: SplitName, root: Path) -> ArraySplit:
        """The split from `<root>/*.gz` (or uncompressed, or in torchvision's folder `<root>/<class>/raw`), verified."""
        names = [f"{PREFIX[split]}-images-idx3-ubyte", f"{PREFIX[split]}-labels-idx1-ubyte"]
        images_path, labels_path = self._locate(names, root)
        images, images_file = self._load(images_path, root, dimensions=3)
        labels, labels_file = self._load(labels_path, root, dimensions=1)
        if len(images) != len(labels):
            raise DataError(
                f"{labels_path}: has {len(labels)} labels for the {len(images)} images of {images_path.name}; get both again"
            )
        return ArraySplit(images[:, None], labels.astype(np.int64), images_path.name, (images_file, labels_file))

    def _locate(self, names: list[str], root: Path) -> list[Path]:
        """Where the named files are; downloads them where that is wanted and one is missing."""
        found = self._present(names, root)
        if len(found) < len(names) and self.download:
            self._fetch(root)
            found = self._present(names, root)
        absent = ", ".join(f"{name}.gz" for name in names if name not in found)
        if absent:
            raise missing(self, root, f"the files {absent}")
        return list(found.values())

    def _present(self, names: list[str], root: Path) -> dict[str, Path]:
        paths = {name: _first(root, name, self.torchvision_class) for name in names}
        return {name: path for name, path in paths.items() if path is not None}

    def _fetch(self, root: Path) -> None:
        """Download all four files through torchvision, which verifies their MD5."""
        import torchvision.datasets

        try:
            getattr(torchvision.datasets, self.torchvision_class)(str(root), download=True)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{root}: the download of {self.kind} failed ({error}); fetch the files by hand") from error

    def _load(self, path: Path, root: Path, dimensions: int) -> tuple[np.ndarray, SourceFile]:
        """The array in one file, and the file's record."""
        content = read_bytes(path)
        array = parse_idx(content, path, dimensions)
        self._verify(path, content)
        return array, source_file(path, root)

    def _verify(self, path: Path, content: bytes) -> None:
        """Refuse a file that is not, byte for byte, the published one."""
        compressed = path.suffix == ".gz"
        known = self.checksums[path.stem if compressed else path.name]
        if known.content_sha256 is not None and hashlib.sha256(content).hexdigest() == known.content_sha256:
            return
        if compressed and md5(path) == known.gz_md5:
            return
        if known.content_sha256 is None and not compressed:
            raise DataError(
                f"{path}: an uncompressed file of {self.kind} cannot be verified, since only the checksum of the distributed "
                f"{path.name}.gz (MD5 {known.gz_md5}) is known; put that file there instead"
            )
        raise DataError(
            f"{path}: is not the published file of {self.kind} (its checksum is another); get the file again, or check that "
            f"it belongs to this dataset: others have files of the same names"
        )


def _first(root: Path, name: str, torchvision_class: str) -> Path | None:
    """The first place where a file of that name lies, compressed or not."""
    for folder in (root, root / "raw", root / torchvision_class / "raw"):
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    return None
