"""Images from people to pixels, and pixels to PNG files for pages."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from certflow.data.pixels import MODES, UNREADABLE, Rendering
from certflow.doors.web.settings import MEGABYTE
from certflow.doors.web.words import name_of
from certflow.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""Files that are taken; each decoder is one more thing that could be attacked."""
FITS = ("crop", "squeeze")
"""How an image gets the model's size; see `rendered`."""
PIXELS = 40_000_000
"""Most pixels of an image: a few kilobytes can claim to be gigabytes."""
TOGETHER = 1_000_000_000
"""Most pixels of all images in a zip, which are decoded while somebody waits."""
ENTRIES = 500
"""Most images in a zip."""
UNPACKED = 200 * MEGABYTE
"""Most bytes of a zip, unpacked."""
ENTRY = 20 * MEGABYTE
"""Most bytes of one file in a zip, unpacked."""
ORIENTATION = 274
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What a camera says of how it was held → what turns its image upright (EXIF 2.3; 1 and all others: nothing)."""
SIDEWAYS = frozenset(UPRIGHT[number] for number in (5, 6, 7, 8))
"""Those that swap width and height."""
ENLARGED = 4
"""How much stronger than it is the difference of an attack is shown, at most."""


@dataclass(frozen=True)
class Rendered:
    """Pixels as the model sees them, and what was done to get there."""

    pixels: np.ndarray
    """uint8 [channels, height, width]"""
    said: str


def rendered(data: bytes, name: str, shape: tuple[int, ...], fit: str = "crop", invert: bool = False) -> Rendered:
    """An image file as the model sees it. `DataError` says what is wrong with the file.

    fit: `crop`: the centre, as large as it fits; `squeeze`: all of it, whatever its proportions. invert: swap dark and light.
    """
    if shape[0] not in MODES:
        raise DataError(f"{name}: the model takes images of {shape[0]} channels, which no image file holds; use Python")
    _recognised(data, name)
    rendering = Rendering(shape, "shorter_side_crop" if fit == "crop" else "exact", colour="convert")
    turn = _turn(data, name)
    pixels = rendering.evaluate(data, name, turn)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        said = _said(image, shape, fit, turn, invert)
    return Rendered(255 - pixels if invert else pixels, said)


def unzipped(data: bytes, shape: tuple[int, ...]) -> list[tuple[str, Rendered]]:
    """The images of a zip, by name. Nothing is written anywhere, so names of entries cannot lead out of a folder.

    `DataError` for what is not a zip, more than `ENTRIES` images, too many bytes, links, and files that are not images.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError("the file is not an intact zip; pack the images again") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _check_entries(entries)
        found, total, pixels = [], 0, 0
        for entry in entries:
            content, path = _entry(archive, entry), name_of(entry.filename)
            total, pixels = total + len(content), pixels + _recognised(content, path)
            if total > UNPACKED:
                raise DataError(f"the zip holds more than {UNPACKED // MEGABYTE} MB; take fewer images")
            if pixels > TOGETHER:
                raise DataError(f"the zip holds more than {TOGETHER:,} pixels; take fewer images, or smaller ones")
            found.append((name_of(PurePosixPath(entry.filename).name), rendered(content, path, shape)))
        return found


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 [channels, height, width] with 1 or 3 channels; of others the first channel is shown."""
    shown = pixels if pixels.shape[0] in (1, 3) else pixels[:1]
    array = shown[0] if shown.shape[0] == 1 else shown.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()


def shown(values: np.ndarray) -> np.ndarray:
    """uint8 of values in [0,1] units, cut to that range: noise leaves it, a screen cannot."""
    return np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """uint8: after - before around mid-grey, enlarged until it is easily seen."""
    change = after.astype(np.float64) - before
    largest = float(np.abs(change).max())
    scale = min(ENLARGED, 0.5 / largest) if largest > 0 else 1.0
    return shown(0.5 + scale * change)


def _recognised(data: bytes, name: str) -> int:
    """How many pixels an image has. `DataError` unless its header is of a format and size that is taken; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except UNREADABLE as error:
        raise DataError(f"{name}: is not an intact image in a format that is taken ({', '.join(FORMATS)})") from error
    if width * height > PIXELS:
        raise DataError(f"{name}: has {width} × {height} pixels, more than {PIXELS:,}; make it smaller first")
    return width * height


def _turn(data: bytes, name: str) -> Image.Transpose | None:
    """What turns an image upright, as its camera says; None where it does not say so."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        try:
            return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
        except UNREADABLE as error:
            raise DataError(f"{name}: is not an intact image; save it again") from error


def _said(image: Image.Image, shape: tuple[int, ...], fit: str, turn: Image.Transpose | None, invert: bool) -> str:
    """What was done to an image, in words."""
    channels, height, width = shape
    done = [] if turn is None else ["turned upright"]
    across, down = image.size[::-1] if turn in SIDEWAYS else image.size
    if (across, down) != (width, height):
        cut = fit == "crop" and across * height != down * width
        way = "the centre cut out and resized" if cut else "resized"
        done.append(f"{way} from {across} × {down} to {width} × {height}")
    if channels == 1 and image.mode not in ("L", "1"):
        done.append("made grey")
    if channels == 3 and image.mode not in ("RGB", "P"):
        done.append("made RGB")
    if image.has_transparency_data:
        done.append("transparency left out")
    if invert:
        done.append("dark and light swapped")
    return ", ".join(done)


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if not entries:
        raise DataError("the zip holds no file; pack images into it")
    if len(entries) > ENTRIES:
        raise DataError(f"the zip holds {len(entries)} files, more than {ENTRIES}; take fewer images")
    for entry in entries:
        if (entry.external_attr >> 16) & 0o170000 == 0o120000:
            raise DataError(f"{name_of(entry.filename)}: is a link; pack the image itself")
        if entry.flag_bits & 1:
            raise DataError(f"{name_of(entry.filename)}: is encrypted; pack the images without a password")
    if sum(entry.file_size for entry in entries) > UNPACKED:
        raise DataError(f"the zip holds more than {UNPACKED // MEGABYTE} MB; take fewer images")


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of one file, read no further than `ENTRY`, whatever its header claims."""
    try:
        with archive.open(entry) as file:
            content = file.read(ENTRY + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *UNREADABLE) as error:
        raise DataError(
            f"{name_of(entry.filename)}: is damaged, or packed in a way that is not known; pack it again"
        ) from error
    if len(content) > ENTRY:
        raise DataError(f"{name_of(entry.filename)}: is larger than {ENTRY // MEGABYTE} MB; make it smaller first")
    return content
