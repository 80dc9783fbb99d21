"""Any tree of image files `<root>/train/<class>/*` and `<root>/test/<class>/*`."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from certflow.data.base import Augmentation, DataInfo, SplitName
from certflow.data.numbering import looked_up, numbered, read_index, read_names
from certflow.data.tree import TreeDataset, leads_back
from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import register

if TYPE_CHECKING:
    from certflow.data.pixels import Rendering

Side = Annotated[int, Field(ge=1, le=65_500)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(gt=0)]
Number = Annotated[int, Field(ge=0)]


@register("image_folder")
class ImageFolder(TreeDataset):
    """Your own images: one folder per class, the same classes in both splits, numbered by sorted folder name unless listed."""

    kind: Literal["image_folder"] = "image_folder"
    remedy: ClassVar[str] = "; where the data have some of the classes only, say which by class_index or class_names"
    example: ClassVar[dict[str, Any]] = {"classes": 3, "shape": [3, 16, 12]}
    classes: int = Field(ge=2)
    """Number of classes: of folders, unless `class_names` or `class_index` says which class each folder is."""
    class_names: Annotated[list[str], Field(min_length=2)] | None = None
    """Names of the class folders in the order of the classifier's outputs. Folders may be missing. In a configuration it may be
    the path of a text file with one name a line, or of a JSON list. Null: folders are numbered as their names are sorted."""
    class_index: Annotated[dict[str, Number], Field(min_length=1)] | Literal["numbers"] | None = None
    """Name of each class folder → the number of its class, from 0. Folders may be missing. It may be the path of a JSON file
    that holds such a mapping, or one from numbers to names. `numbers`: the folders are called by their numbers."""
    shape: Annotated[list[Side], Field(min_length=3, max_length=3)]
    """[channels, height, width] of the images as the network sees them; 1 channel is grey, 3 are red, green, blue."""
    resize: Literal["none", "exact", "shorter_side_crop"] = "none"
    """`none`: all images must have that size; `exact`: resample to it, proportions ignored; `shorter_side_crop`: resample the
    shorter side to `shorter_side`, then cut out the centre."""
    shorter_side: Annotated[Side | None, OnlyWith("resize", "shorter_side_crop")] = None
    """Pixels, for `shorter_side_crop`; at least the larger of height and width. Null: whatever just covers the shape."""
    colour: Literal["strict", "convert"] = "strict"
    """`strict`: an image whose colours do not fit the channels is an error; `convert`: grey ↔ colour, transparency dropped."""
    mean: list[Share] | None = None
    """Per channel, in [0,1] units, for the normalisation layer. Null: none."""
    sd: list[Scale] | None = None
    """Per channel, in [0,1] units; given together with `mean`."""
    augmentation: Augmentation = "none"
    """`crop_flip`: 4 pixels of black around, random crop, mirrored with probability ½. `resized_crop_flip`: as ImageNet
    training; only with `stream`."""
    stream: bool = False
    """Decode images whenever they are needed instead of once: for trees that do not fit in memory."""
    only: SplitName | None = None
    """`test`: there is no training split (a finished model is certified). Null: both splits are there."""

    @field_validator("class_names", mode="before")
    @classmethod
    def _names_from_file(cls, given: Any) -> Any:
        return read_names(given) if isinstance(given, str) else given

    @field_validator("class_index", mode="before")
    @classmethod
    def _index_from_file(cls, given: Any) -> Any:
        return read_index(given) if isinstance(given, str) and given != "numbers" else given

    @model_validator(mode="after")
    def _numbered(self) -> "ImageFolder":
        if self.class_names is not None and self.class_index is not None:
            raise ValueError("class_names and class_index: give one of them")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise ValueError(f"class_names: lists {len(self.class_names)} names, but classes is {self.classes}")
        if self.class_names is not None and len(set(self.class_names)) < self.classes:
            raise ValueError("class_names: a name is listed twice")
        if isinstance(self.class_index, dict):
            numbers = list(self.class_index.values())
            if len(set(numbers)) < len(numbers):
                raise ValueError("class_index: two folders have the same number")
            if max(numbers, default=0) >= self.classes:
                raise ValueError(
                    f"class_index: has the number {max(numbers)}, but classes is {self.classes}, counted from 0"
                )
        return self

    def names(self) -> tuple[str, ...]:
        return tuple(self.class_names or ())

    def numbers(self, names: list[str], folder: Path) -> list[int]:
        """The class of each folder: as the entry says, else its position."""
        if self.class_index == "numbers":
            return numbered(names, self.classes, folder)
        if self.class_names is not None:
            known = {name: number for number, name in enumerate(self.class_names)}
            return looked_up(names, known, "class_names", folder)
        if self.class_index is not None:
            return looked_up(names, self.class_index, "class_index", folder)
        return super().numbers(names, folder)

    @model_validator(mode="after")
    def _consistent(self) -> "ImageFolder":
        channels, height, width = self.shape
        if channels not in (1, 3):
            raise ValueError(f"shape: channels must be 1 or 3, got {channels}")
        if (self.mean is None) != (self.sd is None):
            raise ValueError("mean and sd: give both or neither")
        for name, values in (("mean", self.mean), ("sd", self.sd)):
            if values is not None and len(values) != channels:
                raise ValueError(f"{name}: needs one number per channel ({channels}), got {len(values)}")
        if self.shorter_side is not None and self.shorter_side < max(height, width):
            raise ValueError(
                f"shorter_side: must be at least {max(height, width)} to cover the shape, got {self.shorter_side}"
            )
        if self.augmentation == "resized_crop_flip" and not self.stream:
            raise ValueError("augmentation: resized_crop_flip cuts from the original files, so it needs stream: true")
        if self.download:
            raise ValueError("download: there is no place to fetch your own images from; leave it out")
        return self

    def source_state(self, root: Path) -> str | None:
        """Digest of the names, sizes and times of all files that are read: see `DatasetSpec.source_state`.

        "" where files are checked one by one as they are decoded (`stream`).
        """
        if self.stream:
            return ""
        splits = [root / self.folders[split] for split in self.splits()]
        if not all(split.is_dir() for split in splits):
            return None
        total = hashlib.sha256()
        for split in splits:
            for folder, names in sorted(_walked(split)):
                for name in names if Path(folder) != split else ():
                    found = _stat(os.path.join(folder, name))
                    place = os.path.relpath(os.path.join(folder, name), root)
                    # Names that are not UTF-8 are refused where the files are read, with a message.
                    total.update(os.fsencode(f"{place} {found.st_size} {found.st_mtime_ns}\n"))
        return total.hexdigest()

    def info(self) -> DataInfo:
        return DataInfo(
            classes=self.classes,
            shape=tuple(self.shape),
            mean=None if self.mean is None else tuple(self.mean),
            sd=None if self.sd is None else tuple(self.sd),
            augmentation=self.augmentation,
            streams=self.stream,
        )

    def splits(self) -> tuple[SplitName, ...]:
        return ("train", "test") if self.only is None else (self.only,)

    def rendering(self) -> "Rendering":
        from certflow.data.pixels import Rendering

        return Rendering(tuple(self.shape), self.resize, self.shorter_side, self.colour)


def _walked(root: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, sorted names of its files) of a tree, without what starts with a dot, as readers pass over that; links are
    followed, but not in circles, which readers refuse."""
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not (name.startswith(".") or leads_back(Path(place, name)))]
        yield place, sorted(name for name in names if not name.startswith("."))


def _stat(path: str) -> os.stat_result:
    """Of the file that a link leads to, else of the link, which is refused where files are read."""
    try:
        return os.stat(path)
    except OSError:
        return os.lstat(path)
