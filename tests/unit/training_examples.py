"""Small data, networks and methods for the tests of training; no test in here."""

import signal
from typing import ClassVar, Literal

import numpy as np
import torch

from certflow.kinds.registry import kinds, spec_class
from certflow.training.base import MethodSpec
from certflow.training.kinds.gaussian import Gaussian

TRAINABLE = [
    kind for kind in kinds("method") if spec_class("method", kind).trains and not spec_class("method", kind).composed
]
"""Kinds of methods that train the classifier alone."""


class Images:
    """A split held in arrays: uint8 [n, channels, height, width] and int64 [n]."""

    def __init__(self, pixels, labels):
        self.pixels, self.labels = np.ascontiguousarray(pixels), np.asarray(labels, dtype=np.int64)

    def __len__(self):
        return len(self.labels)

    def read(self, indices):
        return self.pixels[indices]

    def describe(self, index):
        return f"image {index}"


def digits(train: int = 96, test: int = 64) -> tuple[Images, Images]:
    """Scanned 8x8 digits: `train` images from the front, `test` from the back."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images * (255 / 16)).round().astype(np.uint8)[:, None]
    return Images(pixels[:train], data.target[:train]), Images(pixels[-test:], data.target[-test:])


def patterns(train: int = 96, test: int = 64) -> tuple[Images, Images]:
    """Ten random 8x8 patterns with noise: as good as digits where nothing depends on the images, and quick to import."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, train + test)
    pixels = rng.integers(0, 200, (10, 1, 8, 8))[labels] + rng.integers(0, 56, (train + test, 1, 8, 8))
    pixels = pixels.astype(np.uint8)
    return Images(pixels[:train], labels[:train]), Images(pixels[train:], labels[train:])


def network(seed: int = 0, dropout: float = 0.2) -> torch.nn.Module:
    """Everything that could spoil a resumed run: 4-D weights, batch normalisation, dropout."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(72, 10),
    )


def weights(model: torch.nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer as bytes."""
    return {name: tensor.cpu().contiguous().numpy().tobytes() for name, tensor in model.state_dict().items()}


def timeless(rows: list[dict]) -> list[dict]:
    """Rows of the log without what a clock measured."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


class Stuck(Gaussian):
    """Gaussian training that never ends its eighth step: a target that no test can miss."""

    taken: ClassVar[int] = 0

    def step(self, batch):
        type(self).taken += 1
        while self.taken == 8:
            signal.pause()
        return super().step(batch)


class Telling(Gaussian):
    """Gaussian training that reports more: the share of images with an even position, and the number of the batch."""

    extras: ClassVar[tuple[str, ...]] = ("even", "number")

    def loss(self, batch):
        objective, logged = super().loss(batch)
        number = torch.tensor(float(batch.number)) if batch.epoch else None
        told = {} if number is None else {"number": number}
        return objective, {**logged, **told, "even": (batch.index % 2 == 0).double().mean()}


class Probe(MethodSpec):
    """Splits loader batches; its loss is a quadratic of one parameter. Records what it was given."""

    kind: Literal["probe"] = "probe"
    splits: ClassVar[bool] = True
    seen: ClassVar[list] = []

    def loss(self, batch):
        type(self).seen.append(batch)
        return next(batch.model.parameters()).square().mean(), {}
