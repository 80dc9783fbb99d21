"""Decoded splits on disk, one folder per content: written whole or not at all, and never trusted without its checksum.

A folder holds `labels.npy` (int64 [n]) and, for splits that fit in memory, `images.npy` (items [n, *shape] as
`certflow.data.items` stores them: uint8 pixels, int32 tokens) and `hashes.npy` (uint8 [n, 32], SHA-256 of each item); for trees
of files also `files.npy` (see `listing_of`). Its name is a digest of what it holds, so that two processes which prepare the
same thing write the same folder, and either may win.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certflow.data.base import DataInfo
from certflow.data.source import cache_root
from certflow.data.splits import ArraySplit, CachedSplit, pixel_digest
from certflow.data.tree import TreeSplit, listing_of
from certflow.errors import ArtefactError, DataError
from certflow.files.intact import opened, reading
from certflow.files.npz import map_array
from certflow.files.parts import new_part_folder
from certflow.kinds.spec import canonical_json, digest
from certflow.machine.progress import progress

BLOCK = 256
"""Images in work at one time while a split is prepared: memory is at most BLOCK images and their files."""
READERS = 8
"""Threads that hash the files of a streaming split: large files, often on a network file system, where waiting takes the time.
Files that are decoded at once are small and read by one thread: handing them to several costs more than it gains."""


@dataclass(frozen=True)
class Entry:
    """What identifies a prepared split: `content` (images and labels), `listing` (its files; None where it has none)."""

    content: str
    listing: str | None

    @property
    def folder(self) -> Path:
        name = self.content if self.listing is None else digest([self.content, self.listing])
        return cache_root() / name


def store(split: ArraySplit | TreeSplit, info: DataInfo, expected: Entry | None = None) -> Entry:
    """Check a freshly read split, put it into the cache, and say what it is.

    `expected`: refuse, leaving nothing behind, a split that is another one. A split that is in the cache already is left
    as it is.
    """
    _require_consistent(split, info)
    with _scratch() as part:
        labels = np.ascontiguousarray(split.labels, dtype="<i8")
        listing, hashes = _write_pixels(split, info, part)
        _save(part / "labels.npy", labels)
        if listing is not None:
            _save(part / "files.npy", listing)
        if not info.streams:
            _save(part / "hashes.npy", hashes)
        entry = Entry(
            _content_digest(info, labels, listing if info.streams and listing is not None else hashes),
            None if listing is None else _listing_digest(listing),
        )
        if expected is not None and entry != expected:
            raise DataError(
                f"{split.name}: the source files are not those of the manifest (content {entry.content[:12]}, files "
                f"{str(entry.listing)[:12]}; manifest {expected.content[:12]} and {str(expected.listing)[:12]}); restore them, "
                f"or prepare the dataset again"
            )
        _publish(part, entry.folder)
    return entry


def load(entry: Entry, info: DataInfo, name: str, root: Path, rendering: Any) -> CachedSplit | TreeSplit:
    """Open a split of the cache after checking labels and checksums; pixels are checked as they are read.

    `root` and `rendering` serve splits whose images stay in their files. FileNotFoundError where the folder is not there.
    """
    folder = entry.folder
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    labels = _open(folder / "labels.npy", np.int64)
    listing = None if entry.listing is None else _open(folder / "files.npy", None, len(labels))
    hashes = None if info.streams else _open(folder / "hashes.npy", np.uint8, len(labels), 32)
    rows = listing if info.streams else hashes
    intact = rows is not None and _content_digest(info, labels, rows) == entry.content
    if not intact or (listing is not None and _listing_digest(listing) != entry.listing):
        raise ArtefactError(
            f"{folder}: was altered after it was written; delete the folder, it is rebuilt from the source"
        )
    labels = np.array(labels, dtype=np.int64)
    paths = None if listing is None else listing["path"]
    if hashes is None:
        return TreeSplit(root, np.asarray(paths), labels, rendering, name, listing)
    images = _open(folder / "images.npy", np.dtype(info.item.stored), len(labels), *info.shape)
    return CachedSplit(images, labels, hashes, name, folder, paths)


def _content_digest(info: DataInfo, labels: np.ndarray, rows: np.ndarray) -> str:
    """SHA-256 over shape, labels and one SHA-256 per image (of its pixels, or with path and size of its file).

    A tree of hashes (Merkle 1987): a whole split is known by 32 bytes, and any one image can be checked without the rest.
    """
    header = {"classes": info.classes, "shape": [len(labels), *info.shape], "rows": rows.dtype.descr}
    header |= info.item.header()
    total = hashlib.sha256(canonical_json(header).encode())
    total.update(np.ascontiguousarray(labels, dtype="<i8").data)
    total.update(np.ascontiguousarray(rows).view(np.uint8).data)
    return total.hexdigest()


def _listing_digest(listing: np.ndarray) -> str:
    return hashlib.sha256(canonical_json(listing.dtype.descr).encode() + listing.tobytes()).hexdigest()


def _require_consistent(split: ArraySplit | TreeSplit, info: DataInfo) -> None:
    """Labels of the right number and range, images of the right shape and type."""
    labels = np.asarray(split.labels)
    if len(labels) == 0:
        raise DataError(f"{split.name}: is empty; fill it, or correct the entry of the dataset")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{split.name}: needs a list of whole-number labels, got {labels.dtype} {labels.shape}")
    wrong = np.flatnonzero((labels < 0) | (labels >= info.classes))
    if wrong.size:
        raise DataError(
            f"{split.describe(int(wrong[0]))}: has label {labels[wrong[0]]}, but the dataset has the classes 0 to "
            f"{info.classes - 1}; correct the labels or the number of classes"
        )
    if isinstance(split, ArraySplit):
        stored = np.dtype(info.item.stored)
        found, wanted = (split.images.dtype, split.images.shape), (stored, (len(labels), *info.shape))
        if found != wanted:
            raise DataError(
                f"{split.name}: holds {found[0]} {found[1]}, expected {stored} {wanted[1]}; get the files again"
            )
        problem = info.item.problem(split.images)
        if problem:
            raise DataError(f"{split.name}: {problem}; prepare it with the vocabulary that it was made with")


def _write_pixels(split: ArraySplit | TreeSplit, info: DataInfo, part: Path) -> tuple[np.ndarray | None, np.ndarray]:
    """Write `images.npy` (unless the split streams) block by block; returns the listing of files and the images' hashes."""
    total = len(split)
    hashes = np.empty((total, 32), np.uint8)
    files = np.empty(total, np.int64), np.empty((total, 32), np.uint8)
    tree = isinstance(split, TreeSplit)
    bar = progress(total, "images", f"preparing {split.name}", quiet=not tree or total < 5_000)
    with bar, open(part / "images.npy", "wb") as handle, ThreadPoolExecutor(READERS) as readers:
        header = {"descr": info.item.stored, "fortran_order": False, "shape": (total, *info.shape)}
        np.lib.format.write_array_header_1_0(handle, header)
        for start in range(0, total, BLOCK):
            block = range(start, min(start + BLOCK, total))
            if tree:
                pixels = _read_files(split, block, info.streams, files, readers)
            else:
                pixels = split.read(np.array(block))
            if pixels is not None:
                hashes[block] = [np.frombuffer(pixel_digest(image), np.uint8) for image in pixels]
                handle.write(np.ascontiguousarray(pixels).data)
            bar.update(len(block))
    if info.streams:
        (part / "images.npy").unlink()
    return (listing_of(split.paths, *files) if tree else None), hashes


def _read_files(
    split: TreeSplit, block: range, streams: bool, files: tuple[np.ndarray, np.ndarray], readers: ThreadPoolExecutor
) -> np.ndarray | None:
    """Note sizes and hashes of a block of files in `files`, and decode them unless the split streams."""

    def work(index: int) -> np.ndarray | None:
        data = split.load(index)
        files[0][index] = len(data)
        files[1][index] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        if streams:
            return split.rendering.check(data, split.describe(index))
        return split.rendering.evaluate(data, split.describe(index))

    images = list(readers.map(work, block) if streams else map(work, block))
    return None if streams else np.stack([image for image in images if image is not None])


@contextmanager
def _scratch() -> Iterator[Path]:
    """A new folder in the cache that nobody else writes to; what is left of it at the end, or of a killed job's, is deleted."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        part = new_part_folder(root)
    except OSError as error:
        raise DataError(
            f"{root}: the cache of decoded images cannot be written ({error.strerror}); set CERTFLOW_CACHE to another folder"
        ) from error
    try:
        yield part
    except OSError as error:
        raise DataError(
            f"{root}: the cache of decoded images could not be written ({error.strerror or error}); free some room or set "
            f"CERTFLOW_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _publish(part: Path, folder: Path) -> None:
    """Give a finished folder its name; if another process was faster, its folder stays, since it has the same content."""
    for path in part.iterdir():
        with open(path, "rb") as handle:
            os.fsync(handle.fileno())
    part.chmod(0o777 & ~_umask())  # temporary folders are private, the cache may be shared
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)


def _open(path: Path, dtype: Any, *shape: int) -> np.ndarray:
    """Map a file of the cache into memory; an `ArtefactError` where it is missing or damaged.

    dtype: None for a listing of files. shape: empty for one dimension of any size.
    """
    remedy = "delete its folder, it is rebuilt from the source"
    with reading(path, remedy, absent=remedy), opened(path) as file:
        array = map_array(file)
        fits = array.shape == shape if shape else array.ndim == 1
        fits &= array.dtype.names == ("path", "bytes", "sha256") if dtype is None else array.dtype == dtype
        if not fits:
            raise ValueError(f"it holds {array.dtype} {list(array.shape)}, which is not what was written")
        return array
