"""Training batches: shuffled, augmented, on the device, and a pure function of (seed, epoch).

Splits that fit in memory live on the device as bytes, and a batch is one gather. Splits that stream are decoded by worker
processes. Either way the batch size changes neither the order of the images nor what augmentation does to any of them, and
an interrupted epoch can be taken up at any batch.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64

from certflow.data.augmentation import PAD, crop_flip, crop_flip_draws, epoch_order
from certflow.data.base import Augmentation, Split
from certflow.data.items import network_input
from certflow.data.streaming import StreamBatches
from certflow.data.tree import TreeSplit

Batch = tuple[
    Int64[torch.Tensor, " images"],
    Float32[torch.Tensor, "images channels height width"] | Int64[torch.Tensor, "images length"],
    Int64[torch.Tensor, " images"],
]
"""(positions in the full split, pixels in [0,1] or tokens, labels), all on the device."""

READ = 4096
"""Images read at one time while a split is put on the device."""


class Batches(Protocol):
    """What `batches` returns."""

    def __len__(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        ...

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (numbered from 0) in order, from batch `first` on."""
        ...


def batches(
    split: Split,
    *,
    device: str | torch.device,
    batch: int,
    seed: int,
    augmentation: Augmentation,
    shuffle: bool = True,
    workers: int | None = None,
    rows: Callable[[int], torch.Tensor] | None = None,
) -> Batches:
    """Batches of at most `batch` images of a split, every image exactly once per epoch.

    augmentation: `none`; `crop_flip`: 4 zeros around, random crop of the old size, mirrored with probability ½;
    `resized_crop_flip`: as ImageNet training, for streaming splits. `shuffle`: in the order of a permutation keyed by
    (seed, epoch), else in the order of the split. `workers`: processes that decode a streaming split (None: as many as torch
    may use threads; 0: this process). `rows`: from the size of a batch, positions int64 of the images that are really made
    (None: all of them), for processes that share the work. Raises ValueError for settings that cannot be.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2**64), got {seed}")
    if augmentation not in get_args(Augmentation):
        raise ValueError(f"augmentation must be one of {', '.join(get_args(Augmentation))}, got {augmentation!r}")
    if isinstance(split, TreeSplit):
        return StreamBatches(split, torch.device(device), batch, seed, augmentation, shuffle, workers, rows)
    if augmentation == "resized_crop_flip":
        raise ValueError("augmentation resized_crop_flip cuts from the original files: it needs a streaming dataset")
    return MemoryBatches(split, torch.device(device), batch, seed, augmentation == "crop_flip", shuffle, rows)


class MemoryBatches:
    """Batches of a split that is held on the device: images · channels · height · width bytes (padded where it is cropped)."""

    def __init__(
        self,
        split: Split,
        device: torch.device,
        batch: int,
        seed: int,
        crops: bool,
        shuffle: bool,
        rows: Callable[[int], torch.Tensor] | None = None,
    ):
        self.device, self.batch, self.seed, self.crops, self.shuffle = device, batch, seed, crops, shuffle
        self.rows = rows
        self.images = _load(split, device, PAD if crops else 0)
        self.labels = torch.as_tensor(split.labels, dtype=torch.int64).to(device)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (numbered from 0) in order, from batch `first` on."""
        order = epoch_order(len(self.labels), self.seed, epoch, self.shuffle)
        if self.crops:
            # For all images at once: thousands of tiny launches per epoch would cost more than the work.
            image = torch.arange(len(self.labels), device=self.device)
            row, column, flip = crop_flip_draws(image, seed=self.seed, epoch=epoch)
        for index in self._parts(order, first):
            pixels = self.images.index_select(0, index)  # whole rows: ten times as fast as indexing
            if self.crops:
                pixels = crop_flip(pixels, row[index], column[index], flip[index])
            yield index, network_input(pixels), self.labels[index]

    def _parts(self, order: torch.Tensor, first: int) -> tuple[torch.Tensor, ...]:
        """The positions of each batch, or of this process's rows of it; sent to the device all at once."""
        if self.rows is None:
            return order.to(self.device).split(self.batch)[first:]
        parts = [part[self.rows(len(part))] for part in order.split(self.batch)[first:]]
        return torch.cat([order[:0], *parts]).to(self.device).split([len(part) for part in parts])


def _load(split: Split, device: torch.device, margin: int) -> torch.Tensor:
    """All items of a split on the device, as stored, with `margin` zeros on each side of images, read block by block."""
    one = torch.from_numpy(np.ascontiguousarray(split.read(np.arange(1))))
    shape = (len(split), *(size + 2 * margin * (axis > 0) for axis, size in enumerate(one.shape[1:])))
    images = torch.zeros(shape, dtype=one.dtype, device=device)
    inside = images if margin == 0 else images[:, :, margin:-margin, margin:-margin]
    for start in range(0, len(split), READ):
        block = torch.from_numpy(np.ascontiguousarray(split.read(np.arange(start, min(start + READ, len(split))))))
        inside[start : start + len(block)] = block.to(device)
    return images
