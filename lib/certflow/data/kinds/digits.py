"""Handwritten digits, 8×8, grey: the set inside scikit-learn, so that everything runs with no file and no network.

The 1,797 images are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak 1998).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from certflow.data.base import DataInfo, DatasetSpec, SplitName
from certflow.kinds.registry import lazy, register

if TYPE_CHECKING:
    from certflow.data.splits import ArraySplit

np = lazy("numpy")

TEST_EVERY = 4


@register("digits")
class Digits(DatasetSpec):
    """scikit-learn's 1,797 scans; grey levels 0..16 become round(255·v/16).

    Split: within each class, in scikit-learn's order, every fourth image is a test image. This keeps the classes' shares
    equal in both splits. The same writers occur in both, so test accuracy says nothing about new writers.
    """

    kind: Literal["digits"] = "digits"

    @model_validator(mode="after")
    def _no_files(self) -> "Digits":
        if self.root is not None or self.download:
            raise ValueError("digits come with scikit-learn; leave out root and download")
        return self

    def info(self) -> DataInfo:
        return DataInfo(classes=10, shape=(1, 8, 8), size={"train": 1352, "test": 445})

    def read(self, split: SplitName, root: Path) -> "ArraySplit":
        from sklearn.datasets import load_digits

        from certflow.data.splits import ArraySplit

        bunch = load_digits()
        labels = bunch.target.astype(np.int64)
        chosen = np.flatnonzero(held_out(labels) == (split == "test"))
        # The one level halfway between two bytes, 8 (127.5), goes to the even one, 128, as Python's round does.
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        return ArraySplit(images[chosen, None], labels[chosen], f"digits {split}")


def held_out(labels: "np.ndarray") -> "np.ndarray":
    """bool [n]: True where an image is the fourth, eighth, … of its class."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return mask
