"""Any tree of image files `<root>/train/<class>/*` and `<root>/test/<class>/*`."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from lib.data.base import Augmentation, DataInfo, SplitName
from lib.data.tree import TreeDataset
from lib.registry import register

if TYPE_CHECKING:
    from lib.data.pixels import Rendering

Side = Annotated[int, Field(ge=1, le=65_500)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(gt=0)]


@register("image_folder")
class ImageFolder(TreeDataset):
    """Your own images: one folder per class, the same classes in both splits, numbered by sorted folder name."""

    kind: Literal["image_folder"] = "image_folder"
    classes: int = Field(ge=2)
    """Number of class folders."""
    shape: Annotated[list[Side], Field(min_length=3, max_length=3)]
    """[channels, height, width] of the images as the network sees them; 1 channel is grey, 3 are red, green, blue."""
    resize: Literal["none", "exact", "shorter_side_crop"] = "none"
    """`none`: all images must have that size; `exact`: resample to it, proportions ignored; `shorter_side_crop`: resample the
    shorter side to `shorter_side`, then cut out the centre."""
    shorter_side: Side | None = None
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
        if self.shorter_side is not None and self.resize != "shorter_side_crop":
            raise ValueError(
                f"shorter_side: has a meaning with resize: shorter_side_crop only, got resize: {self.resize}"
            )
        if self.shorter_side is not None and self.shorter_side < max(height, width):
            raise ValueError(
                f"shorter_side: must be at least {max(height, width)} to cover the shape, got {self.shorter_side}"
            )
        if self.augmentation == "resized_crop_flip" and not self.stream:
            raise ValueError("augmentation: resized_crop_flip cuts from the original files, so it needs stream: true")
        if self.download:
            raise ValueError("download: there is no place to fetch your own images from; leave it out")
        return self

    def source_state(self, root: Path) -> str:
        """Digest of all files' names, sizes and times: edited, added and moved files are noticed without reading them.

        "" where files are checked one by one as they are decoded (`stream`), and where the folder is gone (the cache serves).
        """
        if self.stream or not root.is_dir():
            return ""
        total = hashlib.sha256()
        for folder, _, names in sorted(os.walk(root, followlinks=True)):
            for name in sorted(names):
                found = os.stat(os.path.join(folder, name))
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
        from lib.data.pixels import Rendering

        return Rendering(tuple(self.shape), self.resize, self.shorter_side, self.colour)
