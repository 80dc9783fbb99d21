"""Reader of idx files, plain or gzip-compressed: the format of MNIST and its relatives (LeCun, Cortes, Burges 1998).

Layout: two zero bytes, the type of the elements (0x08: unsigned bytes, the only one used here), the number of dimensions,
each dimension as a big-endian 32-bit number, then the elements in C order and nothing after them.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from certflow.errors import DataError

UNSIGNED_BYTE = 0x08
LIMIT = 2**30
"""Bytes that the largest file may hold: MNIST's largest has 47 million, EMNIST's 547 million."""


def read_bytes(path: Path) -> bytes:
    """The file's content, decompressed where its name ends in .gz; a `DataError` where it is damaged or truncated."""
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    # wbits=31: one gzip member with its header and checksum. Unlike the gzip module this tells how far a torn file goes.
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(data, LIMIT)
    except zlib.error as error:
        raise DataError(f"{path}: is not an intact gzip file ({error}); get the file again") from error
    if stream.unconsumed_tail:
        raise DataError(f"{path}: expands to more than {LIMIT:,} bytes, more than any idx file has; get the file again")
    if not stream.eof:
        raise DataError(
            f"{path}: is truncated: its {len(data)} compressed bytes hold {len(content)} bytes of data{_expected(content)} "
            f"and break off; get the file again"
        )
    if stream.unused_data:
        raise DataError(f"{path}: has {len(stream.unused_data)} bytes after its end; get the file again")
    return content


def parse_idx(content: bytes, path: Path, dimensions: int) -> np.ndarray:
    """uint8 array (read-only) with that many dimensions from the content of an idx file; `path` is for messages."""
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: is truncated: {len(content)} bytes, the header alone has {start}; get the file again")
    zeros, kind, found = struct.unpack_from(">HBB", content)
    if zeros or kind != UNSIGNED_BYTE or found != dimensions:
        raise DataError(
            f"{path}: is not an idx file of unsigned bytes with {dimensions} dimensions: it starts with "
            f"{content[:4].hex()}, expected 0000{UNSIGNED_BYTE:02x}{dimensions:02x}; check which file this is"
        )
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    size = start + math.prod(shape)
    if len(content) != size:
        trouble = "is truncated" if len(content) < size else "has bytes after its end"
        raise DataError(
            f"{path}: {trouble}: {len(content)} bytes found, {size} expected for {shape}; get the file again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _expected(content: bytes) -> str:
    """`, N expected` where the part that is there still has a whole header, else nothing."""
    if len(content) < 4 or len(content) < 4 + 4 * content[3]:
        return ""
    start = 4 + 4 * content[3]
    return f", {start + math.prod(struct.unpack_from(f'>{content[3]}I', content, 4))} expected,"
