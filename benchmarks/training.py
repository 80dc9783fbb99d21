"""Speed of a training step against the field's: `python benchmarks/training.py [--json FILE]`, some minutes.

The field's step is that of the scripts that descend from Cohen et al. (2019): float32 in NCHW, images through PIL one by one
(`DataLoader` without workers; four on a GPU), normalisation by repeated tensors, noise from the stateful generator, three
`.item()` per step. Ours is what `certflow.training.loop` runs; in float32 on a CPU a second row has `native: true`. First the
Gaussian step on some networks; then every method on LeNet with the papers' settings for MNIST, against the straightforward
implementation of `field_methods.py`. Both train the same architecture on the same random images, in turns, on one thread; CPU
seconds are compared (seconds on a GPU), data loading included.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.field import (
    CIFAR,
    MNIST,
    PRECISIONS,
    SIGMA,
    FieldDataset,
    called,
    default_device,
    field_network,
    in_turns,
    machine,
    native_precisions,
    network,
    random_split,
    ways,
)
from benchmarks.field_methods import LOSSES
from certflow.data.base import DataInfo
from certflow.data.batches import batches
from certflow.data.splits import ArraySplit
from certflow.kinds.registry import spec_class
from certflow.machine.memory import keep_freed_memory, restore_default
from certflow.models.base import Inference
from certflow.noise import Gaussian as GaussianNoise
from certflow.presets import preset_settings
from certflow.training.base import MethodSpec
from certflow.training.fast.convolutions import native
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper, pieces


@dataclass(frozen=True)
class Case:
    """An architecture and the data it takes, a method, and how many loader batches make one measurement."""

    model: dict
    info: DataInfo
    method: MethodSpec
    steps: int
    gpu_steps: int = 40

    def on(self, device: torch.device) -> "Case":
        """The case with as much work as the device does in some seconds."""
        return self if device.type == "cpu" else replace(self, steps=self.gpu_steps)


EPOCH = {"cpu": 16, "cuda": 200}
"""Loader batches of an epoch. A graph of a step is made anew in each: on a GPU an epoch is as long as a real one."""


def gaussian(**fields) -> MethodSpec:
    return spec_class("method", "gaussian")(lr=0.01, **fields)


def papers(kind: str, batch: int) -> MethodSpec:
    """A method as the papers train it on MNIST, on smaller loader batches; MACER with the term that it may defer."""
    settings = preset_settings("paper", "mnist", kind, "gaussian", SIGMA)
    more = {"deferred": False} if kind == "macer" else {}
    return spec_class("method", kind).model_validate({**settings, "batch": batch, **more})


CASES = {
    "lenet": Case({"kind": "lenet"}, MNIST, gaussian(batch=256), steps=4),
    "cifar_resnet20": Case({"kind": "cifar_resnet", "depth": 20}, CIFAR, gaussian(batch=128), steps=1),
    "cifar_resnet110": Case({"kind": "cifar_resnet"}, CIFAR, gaussian(batch=256), steps=1),
}


def field_loader(case: Case, split: ArraySplit, device: torch.device) -> torch.utils.data.DataLoader:
    workers: dict[str, Any] = (
        {"num_workers": 4, "persistent_workers": True, "pin_memory": True} if device.type == "cuda" else {}
    )
    return torch.utils.data.DataLoader(
        FieldDataset(split, case.info), batch_size=case.method.batch, shuffle=True, drop_last=True, **workers
    )


def field_steps(case: Case, split: ArraySplit, device: torch.device) -> Iterator[None]:
    """The field's optimiser steps of one loader batch per item, for ever."""
    model = field_network(case.model, case.info).to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader, logged, loss_of = field_loader(case, split, device), [], LOSSES[case.method.kind]
    while True:
        for images, labels in loader:
            for piece in pieces(len(labels), case.method):
                x, y = images[piece].to(device), labels[piece].to(device)
                loss, logits = loss_of(case.method, model, x, y, SIGMA)
                right = logits.topk(5, 1).indices.eq(y[:, None])
                logged += [loss.item(), right[:, 0].float().sum().item(), right.float().sum().item()]
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            yield


def our_steps(case: Case, split: ArraySplit, device: torch.device, way: Inference) -> Iterator[None]:
    """Our optimiser steps of one loader batch per item, for ever; in a way that sampling has, too."""
    method = case.method.model_copy(update={"precision": way.precision, "native": way.native})
    loader = batches(split, device=device, batch=method.batch, seed=0, augmentation=case.info.augmentation)
    model = network(case.model, case.info).to(device).train()
    predictions = 0.02 + 0.8 * torch.eye(case.info.classes, device=device)[torch.as_tensor(split.labels)]
    tables = {name: predictions for name in method.tables}
    noise, meter, epoch = GaussianNoise(sigma=SIGMA), Meter(), 0
    stepper = Stepper(method, model, noise=noise, seed=0, batches=len(loader), tables=tables)
    with native(model, device) if method.native else nullcontext():
        while True:
            for number, batch in enumerate(loader.epoch(epoch)):
                stepper.advance(batch, epoch, number, meter)
                if len(meter) >= 50:
                    meter.read(f"epoch {epoch}")
                yield
            epoch += 1


def advance(steps: Iterator[None], number: int, ours: bool) -> None:
    """So many steps with cuDNN and the allocator set as the pipeline's trainings have them, or as torch does by itself."""
    torch.backends.cudnn.deterministic = ours
    (keep_freed_memory if ours else restore_default)()
    for _ in range(number):
        next(steps)


def measure(case: Case, rounds: int, device: torch.device, variants: Sequence[Inference]) -> dict:
    """The field's and ours in turns; ratio of the field's time to ours, by the fastest round and by the median."""
    case, batch = case.on(device), case.method.batch
    split = random_split(case.info, EPOCH[device.type] * batch)
    torch.manual_seed(0)
    runs = {"field": field_steps(case, split, device)}
    runs |= {called(way): our_steps(case, split, device, way) for way in variants}
    works = {name: partial(advance, steps, case.steps, ours=name != "field") for name, steps in runs.items()}
    times, images = in_turns(works, rounds, device), batch * case.steps
    result = {"field_images_per_second": images / min(times["field"])}
    for name in map(called, variants):
        result[name] = {
            "images_per_second": images / min(times[name]),
            "ratio_min": min(times["field"]) / min(times[name]),
            "ratio_median": statistics.median(
                theirs / ours for theirs, ours in zip(times["field"], times[name], strict=True)
            ),
        }
    return result


def show(name: str, found: dict, variants: Sequence[Inference]) -> None:
    print(f"{name}: field {found['field_images_per_second']:.0f} images/s")
    for way in map(called, variants):
        ours = found[way]
        print(
            f"  {way}: {ours['images_per_second']:.0f} images/s, "
            f"{ours['ratio_min']:.2f} times the field (median of rounds {ours['ratio_median']:.2f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, help="default: all; on a CPU without ResNet-110")
    parser.add_argument("--methods", nargs="*", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--rounds", type=int, help="measurements of each (default: 5 of a network, 2 of a method)")
    parser.add_argument("--batch", type=int, default=128, help="images per loader batch where methods are compared")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], help=PRECISIONS)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    report = {"machine": machine(device), "cases": {}, "methods": {}}
    variants = ways(options.precisions or native_precisions(device), device)
    cases = [name for name in CASES if device.type == "cuda" or name != "cifar_resnet110"]
    for name in cases if options.cases is None else options.cases:
        report["cases"][name] = found = measure(CASES[name], options.rounds or 5, device, variants)
        show(name, found, variants)
    for kind in options.methods:
        case = Case({"kind": "lenet"}, MNIST, papers(kind, options.batch), steps=1, gpu_steps=10)
        report["methods"][kind] = found = measure(case, options.rounds or 2, device, variants)
        show(f"{kind} (lenet, batch {options.batch})", found, variants)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
