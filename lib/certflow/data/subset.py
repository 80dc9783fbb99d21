"""Which images of a split are used: a rule, never a list, so that it fits in a configuration and in a table's caption."""

from typing import TYPE_CHECKING

from pydantic import Field

from certflow.data.base import SplitName
from certflow.kinds.spec import Record

if TYPE_CHECKING:
    import numpy as np


class Images(Record):
    """The images skip, skip + stride, skip + 2·stride, … of a split, at most `max` of them.

    `{stride: 20}` on CIFAR-10's test set is the usual 500 images of the field's tables (`--skip 20` in
    `locuslab/smoothing`), `{stride: 100}` on ImageNet's validation set the usual 500 there.
    """

    split: SplitName = "test"
    """Which split of the dataset the images are taken from."""
    skip: int = Field(0, ge=0)
    """Images left out at the start."""
    stride: int = Field(1, ge=1)
    """1: every image; k: every k-th."""
    max: int | None = Field(None, ge=1)
    """Largest number of images; null: no limit."""

    def indices(self, total: int) -> "np.ndarray":
        """Positions in the full split, int64 [images], ascending, of a split with `total` images.

        Raises ValueError where nothing would be left.
        """
        import numpy as np

        if self.skip >= total:
            raise ValueError(f"images: skip={self.skip} leaves none of the {total} images of the {self.split} split")
        return np.arange(self.skip, total, self.stride, dtype=np.int64)[: self.max]
