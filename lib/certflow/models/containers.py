"""The formats of weight files: how to get at what a file describes, and at the values of its tensors, one by one.

Three formats are known by their first bytes: safetensors, the zip archive of `torch.save`, and the stream it wrote until 2020.
Only values that are asked for are read, so that an optimiser beside the weights costs nothing. Memory is bounded by the size
of the file. In archives a checksum is compared that torch itself does not look at.
"""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open

from certflow.models.pickles import Stored, extent, unpickle

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""How the stream of `torch.save` begins."""


class Container(Protocol):
    """An open weight file."""

    what: str
    """The format, in words."""
    content: Any
    """What the file describes: mappings, lists, numbers and texts, with `Stored` or `torch.Tensor` for tensors."""

    def raw(self, key: str) -> bytearray:
        """The bytes of one storage."""
        ...


class Safetensors:
    """A file of the safetensors library: one mapping from names to tensors."""

    what = "safetensors"

    def __init__(self, path: Path):
        with safe_open(path, framework="pt") as file:
            self.content = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)

    def raw(self, key: str) -> bytearray:
        raise KeyError(key)


class Archive:
    """A zip archive of `torch.save`: `<folder>/data.pkl`, and one record for each storage in `<folder>/data/`."""

    what = "archive of torch.save"

    def __init__(self, path: Path):
        self._zip, self._size = zipfile.ZipFile(path), path.stat().st_size
        pickled = [name for name in self._zip.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError(f"it holds {len(pickled)} records named data.pkl, one is needed")
        self._folder = pickled[0].removesuffix("data.pkl")
        # Torch can be set to write no checksums, and then writes zeros.
        self._checked = any(entry.CRC for entry in self._zip.infolist())
        if self._optional("byteorder", b"little") != b"little":
            raise ValueError("its numbers are stored big end first; save it again on a little-endian machine")
        self.content, _ = unpickle(bytes(self._record("data.pkl")))

    def raw(self, key: str) -> bytearray:
        return self._record(f"data/{key}")

    def _record(self, name: str) -> bytearray:
        """The bytes of a record, compared with its checksum."""
        entry = self._zip.getinfo(self._folder + name)
        if entry.compress_type != zipfile.ZIP_STORED or not entry.file_size == entry.compress_size <= self._size:
            raise ValueError(f"its record {name} is compressed; unpack it and pack it again without (zip -0)")
        if not self._checked:
            entry.CRC = None  # ty: ignore[invalid-assignment]  # how to keep zipfile from comparing it
        found = bytearray(entry.file_size)
        with self._zip.open(entry) as record:
            if cast(io.BufferedIOBase, record).readinto(found) != len(found) or record.read(1):
                raise ValueError(f"its record {name} is cut off")
        return found

    def _optional(self, name: str, default: bytes) -> bytes:
        return bytes(self._record(name)) if self._folder + name in self._zip.namelist() else default


class Stream:
    """What `torch.save` wrote until version 1.6: pickles (magic, protocol, machine, content, keys), then each storage."""

    what = "file of torch.save in its format of before 2020"

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 (closed by `opened`)
        try:
            if self._next()[0] != MAGIC or self._next()[0] != PROTOCOL:
                raise ValueError("it is a Python pickle that torch.save did not write")
            machine, _ = self._next()
            if not isinstance(machine, Mapping) or machine.get("little_endian") is not True:
                raise ValueError("its numbers are stored big end first; save it again on a little-endian machine")
            self.content, storages = self._next()
            self._places = dict(self._storages(self._next()[0], storages))
        except BaseException:
            self._file.close()
            raise

    def raw(self, key: str) -> bytearray:
        start, size = self._places[key]
        found = bytearray(size)
        self._file.seek(start)
        if self._file.readinto(found) != size:
            raise ValueError("it is cut off")
        return found

    def _next(self) -> tuple[Any, dict[str, tuple[torch.dtype, int]]]:
        """The next pickle."""
        start = self._file.tell()
        end = extent(self._file)
        self._file.seek(start)
        return unpickle(self._file.read(end - start))

    def _storages(
        self, keys: Any, known: Mapping[str, tuple[torch.dtype, int]]
    ) -> Iterator[tuple[str, tuple[int, int]]]:
        """Key → (where its bytes begin, how many): each storage is its length as int64, then its numbers."""
        position, end = self._file.tell(), self._file.seek(0, 2)
        for key in keys:
            dtype, wanted = known[str(key)]
            self._file.seek(position)
            (length,) = struct.unpack("<q", self._file.read(8))
            size = length * dtype.itemsize
            if length != wanted or position + 8 + size > end:
                raise ValueError("it is cut off, or a length in it is wrong")
            yield str(key), (position + 8, size)
            position += 8 + size


@contextmanager
def opened(path: Path) -> Iterator[Container]:
    """The open file, closed at the end. Raises one of `reading.DAMAGE` where it is damaged, FileNotFoundError where missing."""
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        yield Safetensors(path)
        return
    container = Archive(path) if head.startswith(b"PK") else Stream(path)
    handle: zipfile.ZipFile | BinaryIO = container._zip if isinstance(container, Archive) else container._file
    with handle:
        yield container


def values(container: Container, wanted: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a mapping whose values are `Stored` or tensors. What shares memory in the file shares it here."""
    storages: dict[str, bytearray] = {}
    found = {}
    for name, stored in wanted.items():
        if isinstance(stored, Stored):
            if stored.storage.key not in storages:
                storages[stored.storage.key] = container.raw(stored.storage.key)
            found[name] = _view(storages[stored.storage.key], stored)
        else:
            found[name] = stored
    return found


def _view(raw: bytearray, stored: Stored) -> torch.Tensor:
    numbers = len(raw) // stored.dtype.itemsize
    if stored.reach() > numbers or math.prod(stored.shape) > max(numbers, 1):
        raise pickle.UnpicklingError(f"a tensor of shape {list(stored.shape)} has {numbers} numbers in the file")
    if 0 in stored.shape:
        return torch.empty(stored.shape, dtype=stored.dtype)
    flat = torch.frombuffer(raw, dtype=stored.dtype, count=numbers)
    return flat.as_strided(stored.shape, stored.stride, stored.offset)


FORMAT_ERRORS = (SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, struct.error)
"""Errors of the formats themselves, besides Python's own."""
