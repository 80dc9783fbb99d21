"""CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich 2019): corruptions of the test images in five severities."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from certflow.data.base import DataInfo, Split
from certflow.data.corruptions.base import Graded, read_array, require_labels
from certflow.data.source import SourceFile, source_file
from certflow.kinds.registry import register

SHAPE = (3, 32, 32)
SEVERITIES = 5
"""In the files, whatever is chosen of them."""
STANDARD = (
    "brightness",
    "contrast",
    "defocus_blur",
    "elastic_transform",
    "fog",
    "frost",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "pixelate",
    "shot_noise",
    "snow",
    "zoom_blur",
)
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")


@register("cifar_c")
class CifarC(Graded):
    """Files `<corruption>.npy` (uint8 [5·n, 32, 32, 3], severity s in rows (s - 1)·n to s·n - 1) and `labels.npy`.

    The fifteen standard corruptions are taken where none are named; four more are known.
    """

    kind: Literal["cifar_c"] = "cifar_c"
    known: ClassVar[tuple[str, ...]] = STANDARD + EXTRA
    usual: ClassVar[tuple[str, ...]] = STANDARD

    def problems(self, info: DataInfo) -> list[str]:
        other = [] if info.shape == SHAPE else [f"CIFAR-C holds images of shape {SHAPE}, the data have {info.shape}"]
        return super().problems(info) + other

    def published_as(self, dataset: str) -> str | None:
        return "cifar10c" if dataset == "cifar10" else None

    def files(self, name: str) -> list[Path]:
        return [self.folder / f"{name}.npy", self.folder / "labels.npy"]

    def read(self, name: str, clean: Split, info: DataInfo) -> tuple[np.ndarray, list[SourceFile]]:
        images, labels = self.files(name)
        require_labels(labels, read_array(labels, (None,)), clean, SEVERITIES)
        pixels = read_array(images, (SEVERITIES * len(clean), 32, 32, 3))
        chosen = [pixels[(level - 1) * len(clean) : level * len(clean)] for level in self.levels()]
        return (
            np.ascontiguousarray(np.concatenate(chosen).transpose(0, 3, 1, 2)),
            [source_file(file, self.folder) for file in (images, labels)],
        )
