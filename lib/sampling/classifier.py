"""The base classifier as it is sampled: one fixed batch shape, one precision, eval mode, no surprise."""

import copy
import shutil
from typing import Any

import numpy as np
import torch

from lib.data.augmentation import to_unit
from lib.errors import ConfigError
from lib.models.base import Inference
from lib.models.folding import fold
from lib.sampling.fusing import fuse

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMPANY_TOLERANCE = 0.02
"""Largest change of a row's logits with its company, relative to the largest logit: far above rounding, bfloat16's too."""
SMALLEST_BATCH = 8
"""Fewer rows than this take other kernels, with other rounding; smaller batches are padded to it."""


class BaseClassifier:
    """f: noisy images in [0,1] units → class index; a fixed function of each row, at a fixed batch shape.

    The given module is copied, put in eval mode, folded where that is possible, cast to the precision and laid out with
    channels last. Rows of a smaller batch are padded up to `batch`: a row's result cannot depend on what lies beside it.

    Raises ValueError for a module that stays in training mode or whose logits have another width than `classes`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        inference: Inference | None = None,
        *,
        shape: tuple[int, int, int],
        classes: int | None = None,
        device: str | torch.device = "cpu",
        batch: int | None = None,
    ):
        inference = inference or Inference()
        self.shape, self.device = tuple(shape), torch.device(device)
        self.precision = inference.precision
        self.dtype = DTYPES[self.precision]
        if batch is not None and batch < 1:
            raise ValueError(f"batch size must be at least 1, got {batch}")
        self.batch = max(SMALLEST_BATCH, batch or default_batch(self.device, shape))
        network = copy.deepcopy(module).eval()
        training = [name or "the model itself" for name, part in network.named_modules() if part.training]
        if training:
            raise ValueError(f"the model has parts that stay in training mode after .eval(): {', '.join(training[:3])}")
        loose = [name or "the model itself" for name, part in network.named_modules() if _follows_noise(part)]
        if loose:
            raise ValueError(
                f"parts of the model are told a noise level that is not fixed, so it is not one function: "
                f"{', '.join(loose[:3])}; build the denoiser with a condition"
            )
        mixing = [name for name, part in network.named_modules() if _mixes_rows(part)]
        if mixing:
            raise ValueError(
                f"the model normalises by the batch it sees, so rows are not independent: {', '.join(mixing[:3])}"
            )
        self.compiled, self.shift, self.folded, self.fused = inference.compile, None, inference.fold, False
        if inference.fold:
            whole = fold(network, self.shape)
            network = whole.network
            self.shift = None if whole.shift is None else whole.shift.to(self.device)
            network = self._fused(network)
        self.network = network.requires_grad_(False).to(self.device, self.dtype, memory_format=torch.channels_last)
        if inference.compile:
            self.network = _compiled(self.network, self.device)
        self.classes = self._width(classes)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [rows, classes] of noisy images float32 [rows ≤ batch, *shape], from which `shift` was already subtracted."""
        rows = len(x)
        if rows < self.batch:
            x = torch.cat([x, x[-1:].expand(self.batch - rows, *self.shape)])
        x = x.to(self.dtype, memory_format=torch.channels_last)
        return self.network(x)[:rows].float()

    def classify(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes int64 [rows] (the lowest index wins ties) and which rows have finite logits (bool [rows])."""
        logits = self.logits(x)
        return logits.argmax(dim=1), torch.isfinite(logits).all(dim=1)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Clean images, uint8 or float32 in [0,1], as float32 on the device with `shift` subtracted, ready for noise."""
        x = images.to(self.device)
        x = to_unit(x) if x.dtype == torch.uint8 else x.to(torch.float32)
        return x if self.shift is None else x - self.shift

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

    def describe(self) -> dict[str, Any]:
        """The choices that make these bits, for provenance records."""
        return {
            "precision": self.precision,
            "compiled": self.compiled,
            "folded": self.folded,
            "fused": self.fused,
        }

    def _fused(self, network: torch.nn.Module) -> torch.nn.Module:
        """On a CPU, `network` with fused kernels where that works; compiling fuses by itself."""
        if self.device.type != "cpu" or self.compiled or self.precision == "float16":
            return network
        found = fuse(network, self.shape)
        self.fused = found is not None
        return network if found is None else found

    @torch.inference_mode()
    def _width(self, classes: int | None) -> int:
        """Number of logits, after checking it against `classes`, and that rows do not depend on each other."""
        rows = self.batch if self.compiled else SMALLEST_BATCH
        x = torch.linspace(0, 1, rows * int(np.prod(self.shape))).reshape(rows, *self.shape)
        x = x.to(self.device, self.dtype, memory_format=torch.channels_last)
        found = self.network(x)
        if found.dim() != 2 or len(found) != rows:
            raise ValueError(f"the model must return logits [rows, classes], got shape {list(found.shape)}")
        if classes is not None and found.shape[1] != classes:
            raise ValueError(f"the model returns {found.shape[1]} logits, the data have {classes} classes")
        if found.shape[1] < 2:
            raise ValueError("the model returns one logit; smoothing needs at least two classes")
        other = self.network(torch.cat([x[:1], x[1:].flip(0) * 0.5]).contiguous(memory_format=torch.channels_last))
        alone, amid = found[0].float(), other[0].float()
        if (alone - amid).abs().max() > COMPANY_TOLERANCE * alone.abs().max():
            raise ValueError(
                "the model's logits of an image change with the other images of its batch, so draws are not independent; "
                "use a model that treats every row by itself"
            )
        return found.shape[1]


def _mixes_rows(part: torch.nn.Module) -> bool:
    """Batch normalisation without stored statistics: what a row gives depends on the rows beside it."""
    return isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is None


def _follows_noise(part: torch.nn.Module) -> bool:
    """A denoiser that has not been given, once and for all, the noise level it is told (see `lib.denoising.denoiser`)."""
    return not getattr(part, "condition_is_frozen", True)


def default_batch(device: torch.device, shape: tuple[int, int, int]) -> int:
    """Rows per forward pass: few enough on a CPU for activations to stay in its cache, many on a GPU."""
    dim = shape[0] * shape[1] * shape[2]
    if device.type == "cpu":
        return 256 if dim <= 1024 else 200 if dim <= 4096 else 32
    return 4096 if dim <= 1024 else 2048 if dim <= 4096 else 256


def exact_arithmetic() -> None:
    """No TF32 nor bfloat16 in its place, no timing-based choice of algorithms: float32 means float32, runs are repeatable.

    Torch has an older and a newer way to say so. Both must agree, or torch refuses to tell; and the older one alone leaves
    convolutions at what the newer one says of all operations.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    for operation in (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.conv, mkldnn.matmul):
        operation.fp32_precision = "ieee"
    cudnn.benchmark = False
    cudnn.deterministic = True


def _compiled(network: torch.nn.Module, device: torch.device) -> Any:
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ConfigError(
            ["inference.compile: needs a C++ compiler (g++ or clang++) on the PATH; install one or set it to false"]
        )
    torch._inductor.config.freezing = device.type == "cpu"
    torch._inductor.config.deterministic = device.type == "cuda"  # no choice by timing that changes last bits
    return torch.compile(network, dynamic=False)
