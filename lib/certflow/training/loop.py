"""The one training loop: steps on noisy images, interruptible at any moment, the same for every method."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from certflow.data.base import Augmentation, Split
from certflow.data.batches import Batches, batches
from certflow.files.lock import exclusive
from certflow.machine.memory import memory_kept
from certflow.noise.base import NoiseSpec
from certflow.training import evaluation
from certflow.training.base import MethodSpec
from certflow.training.chance import chance, no_better
from certflow.training.fast.convolutions import compilers, native
from certflow.training.log import LogFile, Row
from certflow.training.possible import require_possible, require_shareable
from certflow.training.ranks import ALONE, Ranks
from certflow.training.run import Run, Store
from certflow.training.stepper import Stepper, pieces

CHECKPOINT_SECONDS = 300.0
"""Seconds of work that a killed run may lose within an epoch."""


@dataclass
class TrainingResult:
    """The log of a finished training: one row per epoch (columns of `certflow.training.log`), and facts found on the way."""

    rows: list[Row]
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    """What is wrong with the network: it goes with the model into tables."""


def train(
    method: MethodSpec,
    module: torch.nn.Module,
    train_split: Split,
    test_split: Split,
    *,
    noise: NoiseSpec,
    seed: int,
    device: str | torch.device = "cpu",
    augmentation: Augmentation = "none",
    resume: Path | None = None,
    digest: str = "",
    log: LogFile | Callable[[Row], None] | None = None,
    quiet: bool = False,
    description: str = "train",
    tables: Mapping[str, np.ndarray] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train `module` in place by `method` on images with `noise`, and evaluate it on noisy test images after each epoch.

    `module` maps [rows, channels, height, width] in [0,1] to logits [rows, classes]; it ends in eval mode on `device` with
    the weights of the last epoch (no selection on test images). Initial weights are the caller's (`seed_everything`).
    `augmentation` is the dataset's usual one, which `method.augmentation` may switch off. `tables` holds per-image arrays
    [len(train_split), ...] that the method asks for by name.

    `resume` is a file that is written at the end of each epoch and every `checkpoint_seconds`; a run that finds it, with
    the same `digest`, goes on from there and ends with the same bits as an uninterrupted one on the same device and number
    of threads. It is left in place: delete it once the model is stored. `log` is a table rewritten after each epoch, or
    a function called with each finished row. `ranks`: this process among several that call this function with equal
    arguments and train together (`certflow.training.parallel`); the first of them writes the files.

    Raises `NonFiniteError` with epoch and step when a loss is NaN or infinite, `BusyError` when another process writes
    `resume`, `ArtefactError` when a file cannot be written, `UnsuitableError` for arguments that cannot
    work together.
    """
    require_possible(method, noise, train_split, test_split, tables or {})
    require_shareable(method, ranks, min(len(train_split), len(test_split)))
    device = torch.device(device)
    convolutions = native(module, device) if method.native else nullcontext()
    lock = exclusive(resume, "training") if resume is not None and ranks.writes else nullcontext()
    random = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with lock as locked, random, convolutions, memory_kept():
        loader = _training_batches(method, train_split, device, seed, augmentation, ranks)
        stepper = Stepper(
            method,
            module.to(device),
            noise=noise,
            seed=seed,
            batches=len(loader),
            tables={name: torch.as_tensor(table, device=device) for name, table in (tables or {}).items()},
            ranks=ranks,
            images=len(train_split),
        )
        test = _test_batches(test_split, device, seed, ranks)
        store = Store(resume, digest, checkpoint_seconds, writes=ranks.writes, locked=bool(locked))
        run = Run(stepper, loader, test, store, log if ranks.writes else None, chance(test_split.labels))
        rows, start = run.finish(len(train_split), description, quiet or not ranks.writes)
    module.eval().to(memory_format=torch.contiguous_format)
    warning = no_better(rows[-1]["test_accuracy"], run.chance)
    return TrainingResult(rows, _notes(method, module, device, start, ranks), [warning] if warning else [])


def _training_batches(
    method: MethodSpec, split: Split, device: torch.device, seed: int, augmentation: Augmentation, ranks: Ranks
) -> Batches:
    return batches(
        split,
        device=device,
        batch=method.batch,
        seed=seed,
        augmentation=augmentation if method.augmentation == "dataset" else "none",
        rows=_rows(ranks, lambda images: pieces(images, method)),
    )


def _test_batches(split: Split, device: torch.device, seed: int, ranks: Ranks) -> Batches:
    rows = _rows(ranks, lambda images: [slice(0, images)])
    return batches(
        split, device=device, rows=rows, batch=evaluation.BATCH, seed=seed, augmentation="none", shuffle=False
    )


def _rows(ranks: Ranks, cut: Callable[[int], Iterable[slice]]) -> Callable[[int], torch.Tensor] | None:
    """From the size of a batch, which `cut` divides into pieces, to this process's rows of it; None: all rows are."""
    return (lambda images: ranks.rows(cut(images))) if ranks.world > 1 else None


def _notes(
    method: MethodSpec, module: torch.nn.Module, device: torch.device, start: tuple[int, int], ranks: Ranks
) -> dict[str, Any]:
    """Facts about a training for the record of its model."""
    cuda, cudnn = device.type == "cuda", cast(Any, torch.backends.cudnn)
    return {
        **({"float32_convolutions": cudnn.conv.fp32_precision} if cuda else {}),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "threads": torch.get_num_threads(),
        "precision": method.precision,
        **({"compiler": compilers()} if method.native and device.type == "cpu" else {}),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "resumed": list(start) if start != (0, 0) else None,
        **({"processes": ranks.world} if ranks.world > 1 else {}),
    }
