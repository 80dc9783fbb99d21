"""The base classifier as it is sampled: one fixed batch shape, one precision, eval mode, no surprise."""

import math
from collections.abc import Callable
from typing import Any

import torch

from certflow.data.augmentation import to_unit
from certflow.files.provenance import versions
from certflow.machine.native import compiler_of
from certflow.models.base import Inference
from certflow.models.fast import winograd
from certflow.sampling.arguments import checked_batch
from certflow.sampling.preparing import prepare
from certflow.sampling.settings import engine_settings
from certflow.sampling.taking import take

SMALLEST_BATCH = 8
"""Fewer rows than this take other kernels, with other rounding; smaller batches are padded to it."""


class BaseClassifier:
    """f: noisy images in [0,1] units → class index; a fixed function of each row, at a fixed batch shape.

    What is given, a module or a function from images float32 [rows, *shape] to logits, is copied and prepared
    (`certflow.sampling.preparing`): settled, folded, laid out with channels last and fused where that is the same function,
    and cast to the precision. Rows of a smaller batch are padded up to `batch`: a row's result cannot depend on what lies
    beside it.

    Raises ValueError for what is not one fixed function of a row or cannot be run on such images in the stated precision, or
    whose logits have another width than `classes`.
    """

    def __init__(
        self,
        module: torch.nn.Module | Callable[[torch.Tensor], Any],
        inference: Inference | None = None,
        *,
        shape: tuple[int, ...],
        classes: int | None = None,
        device: str | torch.device = "cpu",
        batch: int | None = None,
    ):
        inference = inference or Inference()
        self.shape, self.device = tuple(shape), torch.device(device)
        self.precision = inference.precision
        self.batch = max(SMALLEST_BATCH, default_batch(self.device, shape) if batch is None else checked_batch(batch))
        with engine_settings():
            self.form, self._witness = prepare(
                take(module), inference, shape=self.shape, classes=classes, device=self.device, batch=self.batch
            )
        self.classes = self._witness.logits.shape[1]
        self.network, self.shift, self.dtype = self.form.network, self.form.shift, self.form.dtype

    @property
    def dim(self) -> int:
        """Number of coordinates of an image."""
        return math.prod(self.shape)

    @property
    def compiled(self) -> bool:
        return "compile" in self.form.done

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [rows, classes] of noisy images float32 [rows ≤ batch, *shape], from which `shift` was already subtracted.

        A network that works in place may overwrite x.
        """
        rows = len(x)
        if rows < self.batch:
            x = torch.cat([x, x[-1:].expand(self.batch - rows, *self.shape)])
        return self.network(self.form.shown(x))[:rows].float()

    def classify(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes int64 [rows] (the lowest index wins ties) and which rows have finite logits (bool [rows])."""
        classes, finite, _ = self.votes(x, None)
        return classes, finite

    def votes(self, x: torch.Tensor, margin: float | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """`classify`, and which rows are unsure: bool [rows], whether their two largest logits lie closer together than
        `margin`; None without one."""
        logits, unsure = self.logits(x), None
        if margin is not None:
            largest = logits.topk(2).values
            unsure = largest[:, 0] - largest[:, 1] < margin
        return logits.argmax(dim=1), torch.isfinite(logits).all(dim=1), unsure

    def require_unchanged(self) -> None:
        """ValueError where the model does not answer as it did when it was made ready: it is not one fixed function then."""
        self._witness.require(self.form, self.batch)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Clean images, uint8 or float32 in [0,1], as float32 on the device with `shift` subtracted, ready for noise."""
        x = self.unit(images)
        return x if self.shift is None else x - self.shift

    def unit(self, images: torch.Tensor) -> torch.Tensor:
        """Clean images, uint8 or float32 in [0,1], as float32 in [0,1] on the device."""
        x = images.to(self.device)
        return to_unit(x) if x.dtype == torch.uint8 else x.to(torch.float32)

    def levels(self, images: torch.Tensor) -> torch.Tensor:
        """Clean images on the grid of 8-bit pixels, uint8 or float32 in [0,1], as grey levels int16 on the device."""
        x = images.to(self.device)
        return (x if x.dtype == torch.uint8 else (x.to(torch.float32) * 255).round()).to(torch.int16)

    def from_levels(self, levels: torch.Tensor) -> torch.Tensor:
        """What `classify` takes, from noisy grey levels int16 [rows, *shape].

        A function of the whole numbers alone: m / 255 is formed before anything is subtracted.
        """
        x = to_unit(levels)
        return x if self.shift is None else x.sub_(self.shift)

    def halve_batch(self) -> bool:
        """Use half the batch from now on, where memory was too small for it; False if it is as small as it may be.

        On a GPU, kernels and so last bits may differ between batch sizes: counts are then those of the smaller batch.
        """
        if self.batch < 2 * SMALLEST_BATCH:
            return False
        self.batch //= 2
        return True

    @property
    def versions(self) -> dict[str, str]:
        """Versions of all that these bits come from, for provenance records."""
        return {**versions(), **({"C compiler": compiler_of(winograd.kernel())} if "native" in self.form.done else {})}

    def describe(self) -> dict[str, Any]:
        """The choices that make these bits, for provenance records."""
        done = self.form.done
        return {
            "precision": self.precision,
            "compiled": self.compiled,
            "settled": "settle" in done,
            "folded": "fold" in done,
            "fused": "fuse" in done,
            "native": "native" in done,
            "layout": "channels last" if "channels_last" in done else "contiguous",
            "dropped": ", ".join(self.form.dropped) or "none",
        }


def default_batch(device: torch.device, shape: tuple[int, ...]) -> int:
    """Rows per forward pass: few enough on a CPU for activations to stay in its cache, many on a GPU."""
    dim = shape[0] * shape[1] * shape[2]
    if device.type == "cpu":
        return 256 if dim <= 1024 else 32
    return 4096 if dim <= 1024 else 2048 if dim <= 4096 else 256
