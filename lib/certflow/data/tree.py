"""Datasets that are trees of image files, one folder per class."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from certflow.data.base import DatasetSpec, SplitName
from certflow.data.source import missing
from certflow.data.splits import positions
from certflow.errors import DataError
from certflow.files.intact import brief, read_all

if TYPE_CHECKING:
    from certflow.data.pixels import Rendering

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})


class TreeDataset(DatasetSpec):
    """Base of the kinds `<root>/<folder of the split>/<class>/…/*.jpg`. Classes are numbered by sorted folder name, images
    by class and then by sorted path, as by torchvision's `ImageFolder` where class folders hold no folders."""

    folders: ClassVar[dict[str, str]] = {"train": "train", "test": "test"}
    """Split → name of its folder."""
    remedy: ClassVar[str] = ""
    """What can be done about another number of folders than of classes, besides adding or removing some."""

    def rendering(self) -> "Rendering":
        """How files become arrays."""
        raise NotImplementedError

    def read(self, split: SplitName, root: Path) -> "TreeSplit":
        """The split's files and labels; nothing is decoded yet. The splits must have the same class folders."""
        classes = self.class_folders(split, root)
        for other in self.splits():
            _require_same(
                classes, root / self.folders[split], self.class_folders(other, root), root / self.folders[other]
            )
        paths, labels = [], []
        numbers = self.numbers(classes, root / self.folders[split])
        for label, name in sorted(zip(numbers, classes, strict=True)):
            found = find_images(root / self.folders[split] / name)
            paths += [path.relative_to(root).as_posix().encode() for path in found]
            labels += [label] * len(found)
        name = f"{root.name}/{self.folders[split]}"
        return TreeSplit(root, np.array(paths), np.array(labels, dtype=np.int64), self.rendering(), name)

    def class_folders(self, split: SplitName, root: Path) -> list[str]:
        """Sorted names of the split's class folders; a `DataError` where they are not the spec's classes."""
        folder = root / self.folders[split]
        if not folder.is_dir():
            wanted = " and ".join(f"{self.folders[name]}/<class>/*" for name in self.splits())
            raise missing(self, folder, f"image files {wanted}", downloadable=False)
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
        for name in names:
            _require_utf8(folder, name)
        self.numbers(names, folder)
        return names

    def numbers(self, names: list[str], folder: Path) -> list[int]:
        """The class of each folder of `names` (sorted): its position. A `DataError` where there are not as many as classes."""
        classes = self.info().classes
        if len(names) != classes:
            raise DataError(
                f"{folder}: has {len(names)} class folders ({_some(names)}), but the dataset has {classes} classes; each class "
                f"is one folder of image files{self.remedy}"
            )
        return list(range(classes))


@dataclass(frozen=True)
class TreeSplit:
    """Images that stay in their files and are decoded when they are read.

    `listing` is None until the files have been hashed; from then on each file is compared with its hash when it is read.
    """

    root: Path
    paths: np.ndarray
    """bytes [n]: path of each image relative to `root`, with slashes"""
    labels: np.ndarray
    """int64 [n]"""
    rendering: "Rendering"
    name: str
    listing: np.ndarray | None = None
    """[n] with fields path, bytes, sha256 (see `listing_of`)"""

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> Path:
        return self.root / self.paths[index].decode()

    def describe(self, index: int) -> str:
        return str(self.path(index))

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [k, channels, height, width], evaluation transform applied."""
        indices = positions(indices, len(self))
        images = np.empty((len(indices), *self.rendering.shape), np.uint8)
        for row, index in enumerate(indices):
            images[row] = self.rendering.evaluate(self.load(index), self.describe(index))
        return images

    def crop(self, index: int, words: np.ndarray) -> np.ndarray:
        """uint8 [channels, height, width]: a random crop of one image (see `Rendering.random_crop`)."""
        return self.rendering.random_crop(self.load(index), self.describe(index), words)

    def load(self, index: int) -> bytes:
        """The bytes of one file, checked where its hash is known."""
        try:
            data = read_all(self.path(index))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path(index)}: cannot be read ({brief(error)}); restore it, or correct the dataset's root"
            ) from error
        if self.listing is not None and hashlib.sha256(data).digest() != self.listing["sha256"][index].tobytes():
            raise DataError(
                f"{self.path(index)}: differs from the file that was prepared ({len(data)} bytes now, "
                f"{self.listing['bytes'][index]} then); restore it, or prepare the dataset again"
            )
        return data


def listing_of(paths: np.ndarray, sizes: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Structured array [n]: path (bytes), bytes (int64), sha256 (uint8 [32]), in the order of the split.

    paths: bytes [n]; sizes: int64 [n]; hashes: uint8 [n, 32].
    """
    listing = np.empty(len(paths), [("path", paths.dtype), ("bytes", "<i8"), ("sha256", "u1", (32,))])
    listing["path"], listing["bytes"], listing["sha256"] = paths, sizes, hashes
    return listing


def find_images(folder: Path) -> list[Path]:
    """All image files below a class folder, sorted by path; files whose name starts with a dot are passed over.

    A file of another type is an error, and so is a class with no image: either means that the tree is not what it should be.
    Links to folders are followed, but not in circles.
    """
    found = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for link in (Path(place, name) for name in folders if leads_back(Path(place, name))):
            raise DataError(f"{link}: is a link to a folder that it lies in ({link.resolve()}); remove it")
        for name in folders + names:
            _require_utf8(place, name)
        for name in names:
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() not in ENDINGS:
                raise DataError(f"{Path(place, name)}: is not an image file ({', '.join(sorted(ENDINGS))}); remove it")
            found.append(Path(place, name))
    if not found:
        raise DataError(
            f"{folder}: holds no image; every class folder needs at least one, or must be removed from all splits"
        )
    return sorted(found, key=lambda path: path.as_posix())


def _require_utf8(folder: str | Path, name: str) -> None:
    """Names are part of the content's digest and of messages: a `DataError` shows one that is not UTF-8, byte for byte."""
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if shown != name:
        raise DataError(f"{folder}/{shown}: the name is not UTF-8 (byte for byte: {os.fsencode(name)}); rename it")


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of those that it lies in: whoever follows it walks in circles."""
    return folder.is_symlink() and folder.resolve() in {above.resolve() for above in folder.absolute().parents}


def _unreadable(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: cannot be read ({error.strerror}); allow it, or correct the dataset's root"
    ) from error


def _require_same(names: list[str], folder: Path, others: list[str], other_folder: Path) -> None:
    for name in sorted({*names} ^ {*others}):
        there, absent = (folder, other_folder) if name in names else (other_folder, folder)
        raise DataError(f"{absent}: has no class folder {name!r}, which {there} has; both splits need the same classes")


def _some(names: list[str], most: int = 5) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "") if names else "none"
