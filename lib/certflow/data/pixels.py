"""From the bytes of one image file to uint8 pixels: decoding, colour, size, and the random crop of ImageNet training.

Pillow does the decoding and resampling; the size rules reproduce torchvision's `Resize`, `CenterCrop` and
`RandomResizedCrop` bit for bit, without its import time.
"""

import math
import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, cast

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from certflow.errors import DataError

Resize = Literal["none", "exact", "shorter_side_crop"]
Colour = Literal["strict", "convert"]

MODES = {1: "L", 3: "RGB"}
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""The decoders that are tried, most frequent first."""
CONVERTED = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
"""Pillow's names of the colours that can become grey or RGB."""
LOSSLESS = {"L": ("L", "1"), "RGB": ("RGB", "P")}
"""Colours asked for → colours of files that lose nothing on the way, unless they are transparent."""
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files."""
AREA = (0.08, 1.0)
"""Share of the image's area that a random crop covers."""
RATIO = (3 / 4, 4 / 3)
"""Width over height of a random crop."""
LARGEST = 40_000_000
"""Most pixels of an image on its way to the shape. A line of pixels grows with its length and its width alike."""
TRIES = 10
CROP_WORDS = 2 * TRIES + 4
"""32-bit words that one random crop consumes: per try one for the area and one for the ratio; row, column, flip, one spare."""


@dataclass(frozen=True)
class Rendering:
    """How image files become arrays of one shape.

    `resize`: `none`: every image must have the shape already; `exact`: resampled to it whatever its proportions;
    `shorter_side_crop`: resampled until the shorter side is `shorter_side` (None: until it just covers the shape), then
    the centre is cut out. Resampling is bilinear with antialiasing. `colour`: `strict` refuses grey files for 3 channels,
    coloured ones for 1, and transparency; `convert` converts them (ITU-R 601 luma; transparency is dropped).

    Refused whatever is set: more than 8 bits per channel, and colours that `CONVERTED` does not list. Of several frames the
    first is taken. The orientation tag of a camera is applied to TIFF alone, as Pillow does; colour profiles are not applied.
    """

    shape: tuple[int, ...]
    resize: Resize = "none"
    shorter_side: int | None = None
    colour: Colour = "strict"

    def open(self, data: bytes, where: str) -> Image.Image:
        """The decoded image in mode L or RGB; a `DataError` names `where` if the file is damaged or of another colour."""
        image = self._recognised(data, where)
        try:
            image.load()
        except UNREADABLE as error:
            raise _damaged(where, error) from error
        return image if image.mode == self._mode() else self._converted(image)

    def evaluate(self, data: bytes, where: str, turn: Image.Transpose | None = None) -> np.ndarray:
        """uint8 [channels, height, width]: the evaluation transform, of the image after a turn if one is given."""
        image = self.open(data, where)
        return _array(self._sized(image if turn is None else image.transpose(turn), where))

    def check(self, data: bytes, where: str) -> None:
        """What can be seen without decoding: that it is an image file of such colours, and its size where that is fixed."""
        self._recognised(data, where)

    def random_crop(self, data: bytes, where: str, words: np.ndarray) -> np.ndarray:
        """uint8 [channels, height, width]: a random part of the image resampled to the shape, mirrored with probability ½.

        `words`: CROP_WORDS random numbers below 2**32 (int64). Law: torchvision's `RandomResizedCrop` and
        `RandomHorizontalFlip` with default settings.
        """
        image = self.open(data, where)
        left, top, width, height = crop_box(words, *image.size)
        part = image.crop((left, top, left + width, top + height))
        pixels = _array(self._resample(part, *self._plane()))
        return pixels[:, :, ::-1] if words[2 * TRIES + 2] >= 2**31 else pixels

    def _plane(self) -> tuple[int, int]:
        """(width, height), in Pillow's order."""
        return self.shape[2], self.shape[1]

    def _mode(self) -> str:
        return MODES[self.shape[0]]

    def _recognised(self, data: bytes, where: str) -> Image.Image:
        """The image with its header read, its size and colours found to fit; nothing is decoded yet."""
        image = recognised(data, where)
        try:
            bits = _bits(image, data)
            transparent = image.has_transparency_data
        except UNREADABLE as error:
            raise _damaged(where, error) from error
        if bits > 8 or image.mode[0] in "IF":
            raise DataError(
                f"{where}: has more than 8 bits per channel ({bits}, mode {image.mode}); convert it to 8 bits first"
            )
        self._require_colours(image.mode, transparent, where)
        if self.resize == "none":
            self._require_size(image, where)
        if self.resize == "shorter_side_crop":
            self._require_coverable(*image.size, where)
        return image

    def _require_coverable(self, width: int, height: int, where: str) -> None:
        """`DataError` where an image is so narrow that resampling it before the centre is cut out would take gigabytes."""
        across, down = self._covering(width, height)
        if across * down > LARGEST:
            raise DataError(
                f"{where}: is {height}×{width} (height×width), of which resampling would make {down}×{across} before the "
                "centre is cut out; cut the image first, or set `resize: exact`"
            )

    def _require_colours(self, mode: str, transparent: bool, where: str) -> None:
        """`DataError` where the channels asked for would not hold what the file holds, and no conversion was asked for."""
        if mode not in CONVERTED:
            raise DataError(f"{where}: is of mode {mode}, which is not converted; save it in grey or RGB")
        wanted = self._mode()
        if self.colour == "convert" or (mode in LOSSLESS[wanted] and not transparent):
            return
        with_transparency = ", with transparency" if transparent and mode in ("1", "L", "P", "RGB") else ""
        raise DataError(
            f"{where}: is of mode {mode}{with_transparency}, but {self.shape[0]} channel(s) ({wanted}) were asked for; "
            f"correct `shape`, or set `colour: convert`"
        )

    def _converted(self, image: Image.Image) -> Image.Image:
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        if image.mode == "La":  # grey multiplied by its transparency; Pillow converts it to nothing else
            image = image.convert("LA")
        return image.convert(self._mode())

    def _sized(self, image: Image.Image, where: str) -> Image.Image:
        width, height = self._plane()
        if self.resize == "none":
            self._require_size(image, where)
            return image
        if self.resize == "exact":
            return self._resample(image, width, height)
        image = self._resample(image, *self._covering(*image.size))
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return image.crop((left, top, left + width, top + height))

    def _covering(self, width: int, height: int) -> tuple[int, int]:
        """Size to resample to before cutting out the centre; the longer side is rounded down, as torchvision does."""
        side = self.shorter_side
        if side is None:
            # The side at which both of the shape's sides are covered, the tighter one exactly.
            scale = max(self.shape[2] / width, self.shape[1] / height)
            return max(self.shape[2], round(width * scale)), max(self.shape[1], round(height * scale))
        if width <= height:
            return side, int(side * height / width)
        return int(side * width / height), side

    def _require_size(self, image: Image.Image, where: str) -> None:
        if image.size != self._plane():
            raise DataError(
                f"{where}: is {image.height}×{image.width} (height×width), but {self.shape[1]}×{self.shape[2]} was asked for; "
                f"correct `shape`, or set `resize: exact` or `shorter_side_crop`"
            )

    @staticmethod
    def _resample(image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), Image.Resampling.BILINEAR)


def recognised(data: bytes, where: str) -> Image.Image:
    """The image with its header read and nothing decoded; a `DataError` names `where` if there is none."""
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UNREADABLE as error:
        raise _damaged(where, error) from error


def crop_box(words: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random part of a width × height image, from CROP_WORDS random 32-bit words.

    Area uniform on AREA times the image's, log of the ratio uniform on log RATIO, redrawn up to TRIES times until the part
    fits, position uniform; then the largest centred part whose ratio is allowed (Szegedy et al. 2015, as in torchvision).
    """
    u = words[: 2 * TRIES] / 2**32
    for area_u, ratio_u in zip(u[:TRIES], u[TRIES:], strict=True):
        area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * area_u)
        ratio = math.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * ratio_u)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = words[2 * TRIES : 2 * TRIES + 2].tolist()
            return left * (width - w + 1) >> 32, top * (height - h + 1) >> 32, w, h
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return (width - w) // 2, (height - h) // 2, w, h


def _damaged(where: str, error: Exception) -> DataError:
    known = f"none of {', '.join(FORMATS)}"
    reason = known if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return DataError(f"{where}: is not an intact image file ({reason}); replace or remove it")


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per channel that the file holds, from its header: Pillow reads 16 bits per colour as 8 without a word."""
    if image.format == "PNG":
        return data[data.index(b"IHDR") + 12]
    if image.format == "TIFF":
        return max(cast(TiffImageFile, image).tag_v2.get(258, (1,)))
    if image.format == "PPM":
        # Magic number, width, height, largest value; black-and-white files (P1, P4) have no largest value.
        magic, _, _, largest, *_ = re.sub(rb"#[^\r\n]*", b" ", data[:65_536]).split(None, 4) + [b"1"] * 4
        return int(largest).bit_length() if magic in (b"P2", b"P3", b"P5", b"P6") else 1
    return 8


def _array(image: Image.Image) -> np.ndarray:
    """uint8 [channels, height, width]"""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
