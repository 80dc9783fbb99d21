"""Augmented views of images outside training: the same law as an epoch's, drawn under a number that no epoch has."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from certflow.data.augmentation import crop_flip, crop_flip_draws, pad, resized_crop_words
from certflow.data.base import Augmentation, Split
from certflow.data.pixels import CROP_WORDS
from certflow.data.tree import TreeSplit

VIEW = 2**32 - 1
"""The epoch number that the draws are keyed by; training counts from 0."""


@dataclass(frozen=True)
class Views:
    """A split of which one random view of each image is read, fixed by (seed, image)."""

    split: Split
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    @property
    def labels(self) -> np.ndarray:
        return self.split.labels

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [k, channels, height, width]"""
        image = torch.as_tensor(np.asarray(indices, np.int64))
        if self.augmentation == "crop_flip":
            pixels = torch.from_numpy(np.ascontiguousarray(self.split.read(indices)))
            return crop_flip(pad(pixels), *crop_flip_draws(image, seed=self.seed, epoch=VIEW)).numpy()
        if self.augmentation == "resized_crop_flip":
            words = resized_crop_words(image, count=CROP_WORDS, seed=self.seed, epoch=VIEW).numpy()
            tree = cast(TreeSplit, self.split)  # the only images that are not of one size
            return np.stack([tree.crop(i, row) for i, row in zip(image.tolist(), words, strict=True)])
        return self.split.read(indices)

    def describe(self, index: int) -> str:
        return self.split.describe(index)
