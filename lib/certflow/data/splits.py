"""Splits held as arrays: freshly read from source files, or opened from the cache with every image checked as it is read."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from certflow.data.source import SourceFile
from certflow.errors import ArtefactError


def positions(indices: np.ndarray, total: int) -> np.ndarray:
    """`indices` as int64 [k]; IndexError names the first that is not a position in a split of `total` images."""
    indices = np.asarray(indices, dtype=np.int64)
    if indices.ndim != 1:
        raise ValueError(f"image indices must be one-dimensional, got shape {indices.shape}")
    wrong = indices[(indices < 0) | (indices >= total)]
    if wrong.size:
        raise IndexError(f"image {wrong[0]} is not in a split of {total} images, numbered from 0")
    return indices


def require_classes(labels: np.ndarray, classes: int, described: Callable[[int], str]) -> None:
    """ValueError that names the first of the labels int [n] that is not one of so many classes. described: row → the image."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"{described(row)}: label {labels[row]} is not one of the model's {classes} classes, which are numbered from 0; "
            "correct the labels, or the names of class folders that are numbers"
        )


def pixel_digest(image: np.ndarray) -> bytes:
    """SHA-256 (32 bytes) of one stored item: an image's pixels in (channel, row, column) order, or a text's tokens."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


@dataclass(frozen=True)
class ArraySplit:
    """A split that its reader holds in memory. `name` says where it comes from, `files` what was read."""

    images: np.ndarray
    """Items [n, *shape] as `certflow.data.items` stores them."""
    labels: np.ndarray
    """int64 [n]"""
    name: str
    files: Sequence[SourceFile] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of the split besides, such as the words that its tokens stand for."""

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.images[positions(indices, len(self))]

    def describe(self, index: int) -> str:
        return f"{self.name}[{index}]"


@dataclass(frozen=True)
class CachedSplit:
    """A split in the cache: pixels mapped from disk, each image compared with its own SHA-256 whenever it is read.

    So opening costs milliseconds whatever the size, and a byte that changed on disk is noticed before it is used.
    """

    images: np.ndarray
    """Items [n, *shape], usually a read-only memory map"""
    labels: np.ndarray
    """int64 [n]"""
    hashes: np.ndarray
    """uint8 [n, 32]: SHA-256 of each image's pixels"""
    name: str
    folder: Path
    paths: np.ndarray | None = None
    """Source file of each image, bytes [n], where each has its own."""

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Stored items [k, *shape]; an `ArtefactError` where the cache was altered."""
        indices = positions(indices, len(self))
        rows = np.array(self.images[indices])
        found = np.frombuffer(b"".join(map(pixel_digest, rows)), np.uint8).reshape(-1, 32)
        wrong = np.flatnonzero((found != self.hashes[indices]).any(axis=1))
        if wrong.size:
            index = int(indices[wrong[0]])
            raise ArtefactError(
                f"{self.folder / 'images.npy'}: the pixels of image {index} ({self.describe(index)}) differ from what was "
                f"prepared (damaged disk or edited file); delete the folder, it is rebuilt from the source"
            )
        return rows

    def describe(self, index: int) -> str:
        return f"{self.name}[{index}]" if self.paths is None else self.paths[index].decode()
