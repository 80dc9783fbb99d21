"""The model under attack: the network that gradients are taken of, and the classifier that judges what was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from certflow.certify.predict import predict_classes
from certflow.noise.base import NoiseSpec
from certflow.noise.kinds.none import NoNoise
from certflow.noise.streams import Stream
from certflow.sampling.classifier import SMALLEST_BATCH, BaseClassifier, default_batch
from certflow.sampling.engine import count_classes
from certflow.sampling.settings import engine_settings
from certflow.training.attacks import check_images
from certflow.training.fast.frozen import frozen

GRADIENT_SHARE = 4
"""How many times fewer rows a pass with gradients gets than one without, on a GPU: it keeps what every layer gave."""


@dataclass(frozen=True)
class Victim:
    """Gradients are the network's in float32; classes are those of `base`, in the precision that the model's entry states."""

    model: torch.nn.Module
    base: BaseClassifier
    noise: NoiseSpec
    seed: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.base.device

    def taken(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the model takes them, after checking that they are in [0,1]."""
        x = images.to(self.device, torch.float32)
        check_images(x)
        return x

    def at_once(self, copies: int) -> int:
        """Images of a batch, `copies` rows each: the same for every image of a job, since other sizes may round otherwise."""
        rows = default_batch(self.device, self.base.shape)
        rows = rows if self.device.type == "cpu" else rows // GRADIENT_SHARE
        return max(1, -(-max(rows, SMALLEST_BATCH) // copies))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this context the network is in eval mode and its parameters get no gradients."""
        with engine_settings(), frozen(self.model):
            yield

    def plain_classes(self, x: torch.Tensor, index: np.ndarray) -> np.ndarray:
        """int64 [images]: the classes of images float32 in [0,1], under no noise."""
        return self._counts(x, index, NoNoise(), 1, 0).argmax(axis=1)

    def smoothed_classes(self, x: torch.Tensor, index: np.ndarray, *, n: int, alpha: float, first: int) -> np.ndarray:
        """int64 [images]: what PREDICT says at level alpha from the n draws from `first` on; -1 where they do not settle it."""
        return predict_classes(self._counts(x, index, self.noise, n, first), alpha)[0]

    def _counts(self, x: torch.Tensor, index: np.ndarray, noise: NoiseSpec, n: int, first: int) -> np.ndarray:
        draws, start = np.full(len(x), n, np.int64), np.full(len(x), first, np.int64)
        counted = count_classes(
            self.base,
            x.cpu(),
            index,
            draws,
            noise=noise,
            seed=self.seed,
            stream=Stream.PREDICTION,
            start=start,
            quiet=True,
        )
        return counted.counts
