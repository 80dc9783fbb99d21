"""A look at a classifier on a few test images: which of them it gets right, clean and under one draw of noise each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lib.data.augmentation import to_unit
from lib.data.base import DataInfo, Split
from lib.errors import NonFiniteError
from lib.models.normalise import Normalise
from lib.noise.base import NoiseSpec
from lib.noise.streams import Stream
from lib.stats import mcnemar

IMAGES, FEWEST = 512, 64
"""At most and at least so many images are looked at."""
EFFORT = 1.3e11
"""Floating point operations of one look: 512 images of a ResNet-20 for CIFAR-10, 254 of a ResNet-110."""
BATCH = 64
SCREEN, HOPELESS = 64, 0.01
"""An alternative that is worse on the first SCREEN images, with a p-value below HOPELESS, is not looked at on the others."""


@dataclass(frozen=True)
class Trial:
    """One way to use the model, under the same noise on the same images as the chosen way.

    `right`, `chosen`: bool [images], whether this way and the chosen one get each image right, for the images looked at.
    """

    name: str
    right: np.ndarray
    chosen: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def gains(self) -> int:
        """Images that this way alone gets right."""
        return int((self.right & ~self.chosen).sum())

    @property
    def losses(self) -> int:
        """Images that the chosen way alone gets right."""
        return int((self.chosen & ~self.right).sum())

    @property
    def p(self) -> float:
        """Exact two-sided p-value that both are right equally often."""
        return mcnemar(self.gains, self.losses)


class Probe:
    """A few images, spread evenly over the split (which may be sorted by class), and one noise draw for each.

    Their number depends on the cost of the network alone, never on the machine.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        test: Split,
        info: DataInfo,
        noise: NoiseSpec,
        seed: int,
        device: torch.device,
        path: Path,
    ):
        if len(test) == 0:
            raise ValueError("the test split has no images to look at")
        count = min(len(test), _images(network, info, device))
        self.index = np.arange(count, dtype=np.int64) * len(test) // count
        self.labels = np.asarray(test.labels)[self.index]
        self.test, self.noise, self.seed, self.device, self.path = test, noise, seed, device, path
        # The first images to be looked at must be spread over the split, too.
        self.order = np.argsort(np.arange(count) * 0.6180339887498949 % 1, kind="stable")

    def predictions(self, network: Callable, *, noisy: bool) -> np.ndarray:
        """Classes int64 [images] that the network chooses; logits that are not finite are an error."""
        found = np.empty(len(self.index), np.int64)
        for rows, x in self._batches(np.arange(len(self.index)), noisy, 1.0):
            logits = network(x)
            finite = logits.isfinite().all(1)
            if not bool(finite.all()):
                image = self.test.describe(int(self.index[rows[int(finite.int().argmin())]]))
                raise NonFiniteError(f"{self.path}: its logits on {image} are NaN or infinite; the model is of no use")
            found[rows] = logits.argmax(1).cpu().numpy()
        return found

    def trial(self, name: str, network: Callable, chosen: np.ndarray, *, scale: float = 1.0) -> Trial:
        """Another way to use the model under noise (times `scale`), on all images or, where it is hopeless, on a few.

        chosen: bool [images], which images the chosen way gets right.
        """
        first, rest = self.order[:SCREEN], self.order[SCREEN:]
        right = self._right(network, first, scale)
        trial = Trial(name, right, chosen[first])
        if len(rest) == 0 or (trial.losses > trial.gains and trial.p < HOPELESS):
            return trial
        return Trial(name, np.concatenate([right, self._right(network, rest, scale)]), chosen[self.order])

    def _right(self, network: Callable, rows: np.ndarray, scale: float) -> np.ndarray:
        """bool [rows]: which images the network gets right; logits that are not finite are a miss."""
        found = []
        for part, x in self._batches(rows, True, scale):
            logits = network(x)
            right = (logits.argmax(1).cpu().numpy() == self.labels[part]) & logits.isfinite().all(1).cpu().numpy()
            found.append(right)
        return np.concatenate(found)

    def _batches(self, rows: np.ndarray, noisy: bool, scale: float) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            index = self.index[part]
            x = to_unit(torch.as_tensor(self.test.read(index), device=self.device))
            if noisy:
                x = x + scale * self._draw(torch.as_tensor(index, device=self.device), tuple(x.shape[1:]))
            with torch.inference_mode():
                yield part, x

    def _draw(self, index: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        draw = torch.zeros_like(index)
        return self.noise.sample(shape, index, draw, seed=self.seed, stream=Stream.TRAIN_EVALUATION)


def alternatives(info: DataInfo) -> Iterator[tuple[str, Normalise]]:
    """The normalisations in use, by what to write to get them."""
    channels = info.shape[0]
    yield "none (model: normalise: none)", Normalise()
    usual = {"to [-1, 1]": ([0.5] * channels, [0.5] * channels)}
    usual["to 0 ... 255"] = ([0.0] * channels, [1 / 255] * channels)
    if info.mean is not None:
        usual["dataset's"] = (list(info.mean), list(info.sd or [1.0] * channels))
        yield f"centring only (mean: {list(info.mean)})", Normalise(info.mean)
    if channels == 3:
        usual["CIFAR-10's"] = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
        usual["ImageNet's"] = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for name, (mean, sd) in usual.items():
        yield f"{name} (mean: {mean}, sd: {sd})", Normalise(mean, sd)


def _images(network: torch.nn.Module, info: DataInfo, device: torch.device) -> int:
    """How many images a look at the network may cost."""
    with torch.no_grad(), _Operations() as counted:
        network(torch.zeros(1, *info.shape, device=device))
    return int(min(IMAGES, max(FEWEST, EFFORT // max(counted.total, 1))))


class _Operations(TorchDispatchMode):
    """Counts floating point operations, of those that torch knows how to count."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), settings: Any = None) -> Any:
        result = function(*arguments, **(settings or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += count(*arguments, **(settings or {}), out_val=result)
        return result
