"""MNIST-C (Mu and Gilmer 2019): fifteen corruptions of MNIST, one severity each."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from certflow.data.base import DataInfo, Split
from certflow.data.corruptions.base import CorruptionSpec, read_array, require_labels
from certflow.data.source import SourceFile, source_file
from certflow.kinds.registry import register

SHAPE = (1, 28, 28)


@register("mnist_c")
class MnistC(CorruptionSpec):
    """Folders `<corruption>/` with `test_images.npy` (uint8 [n, 28, 28, 1]) and `test_labels.npy`; `identity` is MNIST."""

    kind: Literal["mnist_c"] = "mnist_c"
    known: ClassVar[tuple[str, ...]] = (
        "identity",
        "brightness",
        "canny_edges",
        "dotted_line",
        "fog",
        "glass_blur",
        "impulse_noise",
        "motion_blur",
        "rotate",
        "scale",
        "shear",
        "shot_noise",
        "spatter",
        "stripe",
        "translate",
        "zigzag",
    )
    clean: ClassVar[frozenset[str]] = frozenset({"identity"})

    def problems(self, info: DataInfo) -> list[str]:
        other = [] if info.shape == SHAPE else [f"MNIST-C holds images of shape {SHAPE}, the data have {info.shape}"]
        return super().problems(info) + other

    def published_as(self, dataset: str) -> str | None:
        return "mnistc" if dataset == "mnist" else None

    def files(self, name: str) -> list[Path]:
        return [self.folder / name / f"test_{what}.npy" for what in ("images", "labels")]

    def read(self, name: str, clean: Split, info: DataInfo) -> tuple[np.ndarray, list[SourceFile]]:
        images, labels = self.files(name)
        require_labels(labels, read_array(labels, (None,)), clean, 1)
        pixels = read_array(images, (len(clean), 28, 28, 1))
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), [
            source_file(f, self.folder) for f in (images, labels)
        ]
