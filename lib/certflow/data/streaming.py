"""Batches of a split whose images stay in their files: decoded by worker processes, cropped there or on the device."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from certflow.data.augmentation import crop_flip, crop_flip_draws, epoch_order, pad, resized_crop_words, to_unit
from certflow.data.base import Augmentation
from certflow.data.pixels import CROP_WORDS
from certflow.data.tree import TreeSplit
from certflow.errors import DataError

Order = tuple[int, np.ndarray | None]
"""What a worker is asked for: which image, and the random words for its crop (None: the evaluation transform)."""


class Decoder(Dataset):
    """One decoded image per order. It computes with Pillow and numpy alone, so that worker processes may be forked.

    A file that cannot be read is told of by its error instead of an image: what a worker raises reaches this process inside
    of the worker's traceback.
    """

    def __init__(self, split: TreeSplit):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, order: Order) -> tuple[int, np.ndarray] | DataError:
        index, words = order
        try:
            if words is None:
                return index, self.split.read(np.array([index]))[0]
            return index, self.split.crop(index, words)
        except DataError as error:
            return error


class StreamBatches:
    """Batches of a streaming split; same promises as those of a split in memory (see `certflow.data.batches`)."""

    def __init__(
        self,
        split: TreeSplit,
        device: torch.device,
        batch: int,
        seed: int,
        augmentation: Augmentation,
        shuffle: bool,
        workers: int | None = None,
        rows: Callable[[int], torch.Tensor] | None = None,
    ):
        if workers is not None and workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        self.split, self.device, self.batch, self.seed = split, device, batch, seed
        self.augmentation, self.shuffle, self.rows = augmentation, shuffle, rows
        self.workers = torch.get_num_threads() if workers is None else workers
        self.labels = torch.as_tensor(split.labels, dtype=torch.int64).to(device)

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The batches of an epoch (numbered from 0) in order, from batch `first` on."""
        order = epoch_order(len(self.split), self.seed, epoch, self.shuffle)
        parts = list(order.split(self.batch)[first:])
        if self.rows is not None:
            parts = [part[self.rows(len(part))] for part in parts]
        loaded = iter(self._loader([part for part in parts if len(part)], epoch))
        for part in parts:
            found = next(loaded) if len(part) else (part, self._nothing())
            if isinstance(found, DataError):
                raise found
            index, pixels = found
            index = index.to(self.device, non_blocking=True)
            pixels = pixels.to(self.device, non_blocking=True)
            if self.augmentation == "crop_flip":
                pixels = crop_flip(pad(pixels), *crop_flip_draws(index, seed=self.seed, epoch=epoch))
            yield index, to_unit(pixels), self.labels[index]

    def _nothing(self) -> torch.Tensor:
        """Pixels of no image."""
        return torch.from_numpy(self.split.read(np.array([0])))[:0]

    def _loader(self, parts: list[torch.Tensor], epoch: int) -> DataLoader:
        return DataLoader(
            Decoder(self.split),
            batch_sampler=_Orders(parts, self.augmentation == "resized_crop_flip", self.seed, epoch),
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # its own, so that the global one is left alone
        )


class _Orders:
    """The batches of an epoch as lists of orders; random words are drawn here, batch by batch, not in the workers."""

    def __init__(self, parts: list[torch.Tensor], crops: bool, seed: int, epoch: int):
        self.parts, self.crops, self.seed, self.epoch = parts, crops, seed, epoch

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[list[Order]]:
        for index in self.parts:
            words = [None] * len(index)
            if self.crops:
                words = list(resized_crop_words(index, count=CROP_WORDS, seed=self.seed, epoch=self.epoch).numpy())
            yield list(zip(index.tolist(), words, strict=True))


def _collate(items: list[tuple[int, np.ndarray] | DataError]) -> tuple[torch.Tensor, torch.Tensor] | DataError:
    """(indices int64 [B], pixels uint8 [B, channels, height, width]), or the first error."""
    for item in items:
        if isinstance(item, DataError):
            return item
    indices, images = zip(*items, strict=True)
    return torch.tensor(indices), torch.from_numpy(np.stack(images))
