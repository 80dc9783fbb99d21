"""A look at a classifier on a few test images: which of them it gets right, clean and under one draw of noise each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from certflow.data.augmentation import to_unit
from certflow.data.base import DataInfo, Split
from certflow.data.splits import require_classes
from certflow.errors import NonFiniteError
from certflow.models.normalise import CIFAR10, IMAGENET, Normalise
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.stats import mcnemar

IMAGES, FEWEST = 512, 64
"""Most and fewest images that are looked at."""
EFFORT = 2.1e10
"""Floating point operations of one look at the model as chosen: 257 images of a ResNet-20 for CIFAR-10, 64 of a ResNet-110."""
TRIALS_EFFORT = 2.5e10
"""Floating point operations of all other ways together; after them each gets one look. About three seconds of one core."""
BATCH = 64
LOOKS = (64, 128, 256, 512)
"""Numbers of images on which another way is tried, one after the other, until it falls behind. No try ends because of success,
so p-values hold."""
BEHIND = 2
"""By how many images a way may be worse at the first look, without being given up."""


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

    `images` of them are looked at, more where a better way is suspected; the number depends on the cost of the network alone,
    never on the machine. `index`: int64, their positions in the split, in the order in which they are looked at.
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
        require_classes(np.asarray(test.labels), info.classes, test.describe)
        most = min(len(test), IMAGES)
        # Any first part of this order is spread over the split.
        order = np.argsort(np.arange(most) * 0.6180339887498949 % 1, kind="stable")
        self.index = order * len(test) // most
        self.labels = np.asarray(test.labels)[self.index]
        cost = _operations(network, info, device)
        self.images = min(most, int(min(IMAGES, max(FEWEST, EFFORT // cost))))
        self._left = int(TRIALS_EFFORT // cost)
        self.network, self.test, self.noise, self.seed = network, test, noise, seed
        self.device, self.path = device, path
        self._chosen = np.empty(0, np.int64)

    def predictions(self, *, noisy: bool) -> np.ndarray:
        """Classes int64 [images] that the network chooses; logits that are not finite are an error."""
        return self._noisy(self.images) if noisy else self._predictions(np.arange(self.images), False)

    def trial(self, name: str, network: Callable, *, scale: float = 1.0) -> Trial:
        """Another way to use the model under noise, on more images the longer it keeps up (see `LOOKS`).

        scale: what additive noise is multiplied by; other laws know none but 1.
        """
        right = np.empty(0, bool)
        trial = Trial(name, right, right)
        for end in dict.fromkeys(min(look, len(self.index)) for look in LOOKS):
            behind = trial.gains + BEHIND * (len(right) == LOOKS[0]) <= trial.losses
            if len(right) and (behind or self._left <= 0):
                break
            self._left -= end - len(right)
            right = np.concatenate([right, self._right(network, np.arange(len(right), end), scale)])
            trial = Trial(name, right, self._right_as_chosen(end))
        return trial

    def _right_as_chosen(self, end: int) -> np.ndarray:
        """bool [end]: which of the first images the network gets right under noise, as it was chosen to be used."""
        self._noisy(end)
        return self._chosen[:end] == self.labels[:end]

    def _noisy(self, end: int) -> np.ndarray:
        """int64 [end]: classes of the first images under noise, each predicted once."""
        found = self._predictions(np.arange(len(self._chosen), end), True)
        self._chosen = np.concatenate([self._chosen, found])
        return self._chosen[:end]

    def _predictions(self, rows: np.ndarray, noisy: bool) -> np.ndarray:
        found = [np.empty(0, np.int64)]
        for part, x in self._batches(rows, noisy, 1.0):
            logits = self.network(x)
            finite = logits.isfinite().all(1)
            if not bool(finite.all()):
                image = self.test.describe(int(self.index[part[int(finite.int().argmin())]]))
                raise NonFiniteError(
                    f"{self.path}: its logits on {image} are NaN or infinite; the model cannot be used"
                )
            found.append(logits.argmax(1).cpu().numpy())
        return np.concatenate(found)

    def _right(self, network: Callable, rows: np.ndarray, scale: float) -> np.ndarray:
        """bool [rows]: which images the network gets right; logits that are not finite are a miss."""
        found = []
        for part, x in self._batches(rows, True, scale):
            logits = network(x)
            right = (logits.argmax(1).cpu().numpy() == self.labels[part]) & logits.isfinite().all(1).cpu().numpy()
            found.append(right)
        return np.concatenate(found)

    def _copies(self, x: torch.Tensor, key: Key, scale: float) -> torch.Tensor:
        if isinstance(self.noise, AdditiveNoise) and scale != 1:
            return x + scale * self.noise.sample(tuple(x.shape[1:]), key)
        return self.noise.copies(x, key)

    def _batches(self, rows: np.ndarray, noisy: bool, scale: float) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            index = self.index[part]
            x = to_unit(torch.as_tensor(self.test.read(index), device=self.device))
            if noisy:
                image = torch.as_tensor(index, device=self.device)
                key = Key.of(image, 0, seed=self.seed, stream=Stream.TRAIN_EVALUATION)
                x = self._copies(x, key, scale)
            with torch.inference_mode():
                yield part, x


def alternatives(info: DataInfo) -> Iterator[tuple[str, Normalise]]:
    """The normalisations in use, by what to write to get them."""
    channels = info.shape[0]
    yield "none (model: normalise: none)", Normalise()
    usual = {
        "to [-1, 1]": ((0.5,) * channels, (0.5,) * channels),
        "to 0 ... 255": ((0.0,) * channels, (1 / 255,) * channels),
    }
    if info.mean is not None:
        usual["dataset's"] = (info.mean, info.sd or (1.0,) * channels)
        yield f"centring only (mean: {list(info.mean)})", Normalise(info.mean)
    if channels == 3:
        usual |= {"CIFAR-10's": CIFAR10, "ImageNet's": IMAGENET}
    for name, (mean, sd) in usual.items():
        yield f"{name} (mean: {list(mean)}, sd: {list(sd)})", Normalise(mean, sd)


def scaled_down(given: Normalise) -> Iterator[tuple[str, Normalise]]:
    """A normalisation that was stated for pixels from 0 to 255, as it is for pixels in [0,1]; none where it cannot be one."""
    if given.mean is None or given.sd is None or float(given.mean.max()) <= 1:
        return
    mean, sd = ([value / 255 for value in values.flatten().tolist()] for values in (given.mean, given.sd))
    written = [", ".join(f"{value:.4g}" for value in values) for values in (mean, sd)]
    yield f"as given, divided by 255 (mean: [{written[0]}], sd: [{written[1]}])", Normalise(mean, sd)


def _operations(network: torch.nn.Module, info: DataInfo, device: torch.device) -> int:
    """Floating point operations for one image, at least 1."""
    with torch.no_grad(), _Operations() as counted:
        network(torch.zeros(1, *info.shape, device=device))
    return max(counted.total, 1)


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
