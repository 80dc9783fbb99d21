"""Images that are named on a command line: a folder, an array file, or a split of a data set."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from mimetypes import MimeTypes
from pathlib import Path

import numpy as np

from certflow.data.base import DataInfo, DatasetSpec
from certflow.data.pixels import MODES, Colour, Rendering, Resize, recognised
from certflow.data.source import data_root
from certflow.data.tree import ENDINGS, TreeDataset, find_images
from certflow.errors import DataError
from certflow.files.intact import DAMAGE, brief, opened, read_all
from certflow.files.npz import map_array
from certflow.report.numbers import counted

PART = re.compile(r"(?:\[(?P<start>\d{0,18}):(?P<stop>\d{0,18})(?::(?P<step>\d{0,18}))?\]|::(?P<each>\d{1,18}))\Z")
"""Which of the images: what may follow their name."""
SPLITS = ("train", "test")
NAMED = "a folder of images, a .npy file, or a split such as mnist:test or mnist:test::20 (every twentieth image)"
TYPES = MimeTypes()
"""What endings of files stand for."""
LAYOUT = "[images, channels, height, width]"
MEANT = {
    **dict.fromkeys(("resize", "colour"), "image files in a folder; change the images themselves, or leave it out"),
    "root": "a data set such as mnist:test; leave it out",
}
"""Option → which images it is for, and what to do where it was given for others."""


@dataclass(frozen=True)
class Given:
    """Images as they were named. Read when asked for, so that a folder need not fit in memory."""

    name: str
    shape: tuple[int, ...]
    index: np.ndarray
    """int64 [images]: their positions, which name them in the noise's counters."""
    read: Callable[[slice], np.ndarray]
    """slice of these images → uint8 or float [images, *shape]"""
    describe: Callable[[int], str]
    """index → what an image is called in messages"""
    labels: np.ndarray | None = None
    """int64 [images]"""
    folders: tuple[str, ...] = ()
    """Names of the class folders that the labels come from, where their order is all that is known of them."""
    info: DataInfo | None = None
    """Of the data set, where it is one."""
    dataset: DatasetSpec | None = None

    def __len__(self) -> int:
        return len(self.index)

    def digest(self, block: int = 256) -> str:
        """SHA-256 of all pixels and positions."""
        content = hashlib.sha256(self.index.tobytes())
        for start in range(0, len(self), block):
            content.update(np.ascontiguousarray(self.read(slice(start, start + block))).tobytes())
        return content.hexdigest()

    def labelled(self, labels: np.ndarray) -> "Given":
        """The same images with these labels, whatever folders they lie in."""
        return replace(self, labels=labels, folders=())


@dataclass(frozen=True)
class Looks:
    """How image files become arrays."""

    shape: tuple[int, ...] | None = None
    """What the model takes; None: as the first image is."""
    resize: Resize = "none"
    """See `certflow.data.pixels.Rendering`."""
    colour: Colour = "strict"
    """See `certflow.data.pixels.Rendering`."""
    root: str | None = None
    """Folder of a data set's files."""


def given(text: str, looks: Looks, own: DatasetSpec | None = None) -> Given:
    """The images that `text` names: FOLDER, FILE.npy, KIND:SPLIT, or only SPLIT of the data set `own` of the model; each may be
    followed by [start:stop:step], or ::step. `DataError` says what else could be written."""
    part = None if _place(text).exists() else PART.search(text)
    name, chosen = (text, slice(None)) if part is None else (text[: part.start()], _slice(part))
    place = _place(name)
    if place.is_dir():
        found = _folder(place, looks, own)
    elif place.suffix == ".npy":
        found = _array(place, looks)
    else:
        found = _split(name, looks, own)
    return _part(found, chosen, text)


def _require_meant(name: str | Path, looks: Looks, *used: str) -> None:
    """`DataError` for an option other than `used` that was given: it would have no effect on these images."""
    for option, meant in MEANT.items():
        if option not in used and getattr(looks, option) != getattr(Looks(), option):
            raise DataError(f"{name}: --{option} is for {meant}")


def _place(name: str) -> Path:
    """Where the images would lie; `DataError` for what cannot be a path."""
    try:
        place = Path(name).expanduser()
        place.is_dir()
    # Too long a name, a folder that may not be entered, an unknown user's home.
    except (OSError, RuntimeError) as error:
        raise DataError(f"{name[:80]}: cannot be looked for ({brief(error)}); name {NAMED}") from error
    if not name:
        raise DataError(f"no images are named; name {NAMED}")
    return place


def _slice(part: re.Match) -> slice:
    numbers = {key: int(value) if value else None for key, value in part.groupdict().items()}
    step = numbers["step"] if numbers["each"] is None else numbers["each"]
    if step == 0:
        raise DataError(f"{part.string}: the step is 0; write at least 1")
    return slice(numbers["start"], numbers["stop"], step)


def _part(whole: Given, chosen: slice, text: str) -> Given:
    rows = range(len(whole))[chosen]
    if not rows:
        raise DataError(f"{text}: leaves none of the {counted(len(whole), 'image')}")
    if len(rows) == len(whole):
        return whole

    def read(wanted: slice) -> np.ndarray:
        part = rows[wanted]  # evenly spaced, as all of the part are
        return whole.read(slice(part.start, part.stop, part.step))

    labels = None if whole.labels is None else whole.labels[chosen]
    return replace(whole, index=whole.index[chosen], read=read, labels=labels)


def _split(name: str, looks: Looks, own: DatasetSpec | None) -> Given:
    from certflow.doors.entries import entry
    from certflow.kinds.registry import kinds

    kind, _, split = name.rpartition(":")
    if split not in SPLITS or (not kind and own is None):
        what = "is a file of another kind" if _place(name).is_file() else "is not there"
        raise DataError(f"{name}: {what}; name {NAMED}; data sets: {', '.join(kinds('dataset'))}")
    _require_meant(name, looks, "root")
    root = {} if looks.root is None else {"root": looks.root}
    spec = entry(DatasetSpec, kind, **root) if kind or own is None else own.model_copy(update=root)
    data = spec.read(split, data_root(spec))
    index, info = np.arange(len(data), dtype=np.int64), spec.info()
    return Given(
        name=f"{spec.kind}:{split}",
        shape=info.shape,
        index=index,
        read=lambda rows: data.read(index[rows]),
        describe=data.describe,
        labels=np.asarray(data.labels, np.int64),
        info=info,
        dataset=spec,
    )


def read_array(path: Path, what: str) -> np.ndarray:
    """The numbers of a file of `numpy.save`, mapped into memory and read-only; `DataError` where it is none."""
    try:
        with opened(path) as file:
            return map_array(file)
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be read as an array ({brief(error)}); write {what}") from error


def _array(path: Path, looks: Looks) -> Given:
    from certflow.sampling.arguments import check_layout
    from certflow.sampling.images import OUTSIDE, first_outside

    _require_meant(path, looks)
    images = read_array(path, f"images {LAYOUT} by numpy.save")
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or not (images.dtype == np.uint8 or (images.dtype.kind == "f" and images.dtype.itemsize <= 8)):
        raise DataError(
            f"{path}: must hold images {LAYOUT}, uint8 or floats from 0 to 1, holds {images.dtype} {list(images.shape)}"
        )
    try:
        check_layout(images.shape)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    index = np.arange(len(images), dtype=np.int64)

    def read(rows: slice) -> np.ndarray:
        found = np.asarray(images[rows])
        worst = None if found.dtype == np.uint8 else first_outside(found)
        if worst is not None:
            raise DataError(f"{path}[{index[rows][worst]}]: {OUTSIDE}")
        return found

    return Given(str(path), tuple(images.shape[1:]), index, read, lambda index: f"{path}[{index}]")


def _folder(folder: Path, looks: Looks, own: DatasetSpec | None) -> Given:
    """All images below a folder; where they lie in sub-folders, one for each class, these are the labels."""
    _require_meant(folder, looks, "resize", "colour")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    loose = _images_in(folder)
    if classes and loose:
        raise DataError(
            f"{loose[0]}: is an image beside class folders ({folder / classes[0]}); move it, or name one of the folders"
        )
    if not classes and not loose:
        raise DataError(f"{folder}: holds no image ({', '.join(sorted(ENDINGS))}); name {NAMED}")
    paths = [(path, name) for name in classes for path in find_images(folder / name)] or [(path, "") for path in loose]
    files = [path for path, _ in paths]
    if looks.shape is not None and looks.shape[0] not in MODES:
        raise DataError(
            f"{folder}: the model takes images of {looks.shape[0]} channels, which no image file holds; name a .npy file"
        )
    rendering = Rendering(looks.shape or _shape_of(files[0]), looks.resize, colour=looks.colour)

    def read(rows: slice) -> np.ndarray:
        made = [rendering.evaluate(_bytes(path), str(path)) for path in files[rows]]
        return np.stack(made) if made else np.empty((0, *rendering.shape), np.uint8)

    index = np.arange(len(files), dtype=np.int64)
    described = lambda index: str(files[index])  # noqa: E731
    found = Given(str(folder), rendering.shape, index, read, described)
    if not classes:
        return found
    numbers, sure = _numbers(classes, folder, own)
    labels = numbers[[classes.index(name) for _, name in paths]]
    return replace(found, labels=labels, folders=() if sure else tuple(classes))


def _numbers(classes: list[str], folder: Path, own: DatasetSpec | None) -> tuple[np.ndarray, bool]:
    """int64 [folders]: the class of each, and whether that is sure: it is where the model's data say so, or where all folders
    are called by numbers; else it is the place among the sorted names."""
    if isinstance(own, TreeDataset):
        return np.array(own.numbers(classes, folder), np.int64), True
    if all(re.fullmatch(r"\d{1,6}", name) for name in classes):
        return np.array([int(name) for name in classes], np.int64), True
    return np.arange(len(classes), dtype=np.int64), False


def _images_in(folder: Path) -> list[Path]:
    """The image files right in a folder, sorted. Other files may lie beside them; an image of another kind is a `DataError`."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    found = [path for path in files if path.suffix.lower() in ENDINGS]
    for path in files:
        kind, _ = TYPES.guess_type(path.name, strict=False)
        if path.suffix.lower() not in ENDINGS and (kind or "").startswith("image/"):
            raise DataError(
                f"{path}: is an image of a kind that is not read ({', '.join(sorted(ENDINGS))}); convert it, or move it away"
            )
    return found


def _shape_of(path: Path) -> tuple[int, int, int]:
    """Channels, height and width of an image file as it is."""
    image = recognised(_bytes(path), str(path))
    channels = next((number for number, mode in MODES.items() if mode == image.mode), 3)
    return channels, image.height, image.width


def _bytes(path: Path) -> bytes:
    try:
        return read_all(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({brief(error)}); restore it") from error
