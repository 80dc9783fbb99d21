"""Corrupted copies that are computed here, for data of which nobody published any."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from certflow.data.base import DataInfo, Split
from certflow.data.corruptions.base import Graded
from certflow.data.corruptions.computing import CORRUPTIONS, corrupt
from certflow.data.source import SourceFile
from certflow.kinds.registry import register

READ = 1024
"""Images read at one time."""


@register("computed")
class Computed(Graded):
    """Eight simple corruptions of CIFAR-10-C at its strengths, of any images that fit in memory (see `computing`)."""

    kind: Literal["computed"] = "computed"
    known: ClassVar[tuple[str, ...]] = tuple(CORRUPTIONS)

    @model_validator(mode="after")
    def _no_files(self) -> Self:
        if self.root is not None:
            raise ValueError("computed corruptions need no files, so they take no root")
        return self

    def problems(self, info: DataInfo) -> list[str]:
        other = [] if info.shape[0] in (1, 3) else [f"images must have 1 or 3 channels, not {info.shape[0]}"]
        return super().problems(info) + other

    def read(self, name: str, clean: Split, info: DataInfo) -> tuple[np.ndarray, list[SourceFile]]:
        levels = self.levels()
        copies = np.empty((len(levels), len(clean), *info.shape), np.uint8)
        for first in range(0, len(clean), READ):
            index = np.arange(first, min(first + READ, len(clean)))
            for number, image in zip(index.tolist(), clean.read(index), strict=True):
                for place, severity in enumerate(levels):
                    copies[place, number] = corrupt(image, name, severity, number)
        return copies.reshape(-1, *info.shape), []
