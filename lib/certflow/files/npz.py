"""The container of our arrays: an `.npz` file as numpy reads it, with a record in it and a checksum over all of its bytes.

The members are `<name>.npy`, compressed, and `record.json`. The zip's comment, its last bytes, is a SHA-256 of all bytes before
it. So a reader compares the whole file with one checksum before any parser sees it.
"""

import math
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from certflow.files.intact import CHUNK, RECORD_BYTES, digest_of, size_of

RECORD = "record.json"
ENDING = ".npy"
MARK = b"certflow sha256 "
SEAL = len(MARK) + 64
"""Length of the zip's comment in bytes."""
KINDS = "biufUS"
"""numpy's kinds of dtypes that are stored: truth values, numbers, text. No objects, which would need unpickling."""
WRITTEN = (1980, 1, 1, 0, 0, 0)
"""The time that every member carries, so that equal content gives equal bytes."""

Header = tuple[np.dtype, tuple[int, ...]]
"""Type and shape of an array."""


def pack(file: BinaryIO, arrays: Mapping[str, Any], record: str) -> None:
    """Write arrays and record to an empty file, open for reading and writing."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = MARK + b"0" * 64
        archive.writestr(_member(RECORD), record)
        for name, values in arrays.items():
            values = np.asanyarray(values)
            if values.dtype.kind not in KINDS:
                raise ValueError(f"array {name}: type {values.dtype} is not stored; give numbers, truth values or text")
            with archive.open(_member(name + ENDING), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    file.flush()
    size = size_of(file)
    checksum = digest_of(file, size - SEAL)
    file.seek(size - 64)
    file.write(checksum.encode())


def require_intact(file: BinaryIO) -> None:
    """ValueError unless the file is, byte for byte, as `pack` left it."""
    size = size_of(file)
    file.seek(max(size - SEAL, 0))
    seal = file.read(SEAL)
    if not seal.startswith(MARK) or len(seal) < SEAL:
        raise ValueError("it does not end with the checksum that certflow writes: cut off, or made by another program")
    if digest_of(file, size - SEAL).encode() != seal[len(MARK) :]:
        raise ValueError("it differs from what was written")


class Packed:
    """An intact file of arrays, open: its record, type and shape of every array by name, and, when asked for, the arrays.

    Up to then nothing is read but headers, so that a reader can refuse what is too large: a small file may expand to much.
    """

    def __init__(self, file: BinaryIO):
        self._archive = zipfile.ZipFile(file)
        members = {info.filename: info for info in self._archive.infolist()}
        if len(members) != len(self._archive.infolist()):
            raise ValueError("two of its members have the same name")
        self.record = _record(self._archive)
        self._members = {name.removesuffix(ENDING): members[name] for name in members if name != RECORD}
        self.headers: dict[str, Header] = {
            name: _header(self._archive, info)[0] for name, info in self._members.items()
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {name: _array(self._archive, info) for name, info in self._members.items()}


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, WRITTEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _record(archive: zipfile.ZipFile) -> bytes:
    if archive.getinfo(RECORD).file_size > RECORD_BYTES:
        raise ValueError("its record is too large")
    return archive.read(RECORD)


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Header, bool, int]:
    """Type and shape, whether in Fortran order, and where the numbers start; all checked against the member's size."""
    with archive.open(info) as member:
        (dtype, shape), fortran = read_header(member)
        start = member.tell()
    _require_size(dtype, shape, info.file_size - start)
    return (dtype, shape), fortran, start


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    (dtype, shape), fortran, start = _header(archive, info)
    content = bytearray(info.file_size - start)
    with archive.open(info) as member:
        member.read(start)
        view = memoryview(content)
        for place in range(0, len(content), CHUNK):
            wanted = min(CHUNK, len(content) - place)
            view[place : place + wanted] = member.read(wanted)  # ValueError where it ends too early
        member.read(1)  # the end of the member, where its own checksum is compared
    return np.ndarray(shape, dtype, buffer=content, order="F" if fortran else "C")


def read_header(file: Any) -> tuple[Header, bool]:
    """Type and shape of a `.npy` file at its start, and whether it is in Fortran order; no type that needs unpickling."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its numbers are in version {version} of the npy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy guesses at headers that it did not write in this way
        try:
            shape, fortran, dtype = read(file, max_header_size=10_000)
        except Warning as warning:
            raise ValueError(str(warning)) from warning
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    return (dtype, shape), fortran


def _require_size(dtype: np.dtype, shape: tuple[int, ...], found: int) -> None:
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted != found:
        raise ValueError(f"it holds {found:,} bytes of numbers, {dtype} {list(shape)} needs {wanted:,}")


def map_array(file: BinaryIO) -> np.ndarray:
    """A `.npy` file mapped into memory, read-only, after comparing its size with what its header promises."""
    (dtype, shape), fortran = read_header(file)
    start = file.tell()
    _require_size(dtype, shape, size_of(file) - start)
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C")
