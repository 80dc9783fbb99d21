"""Speed of sampling against the field's loop: `python benchmarks/sampling.py [--json FILE]`, a minute or two.

The field's loop is that of the scripts that descend from Cohen et al. (2019): the image repeated to the size of the batch,
noise from torch's stateful generator, float32 in NCHW, normalisation by repeated tensors, batch normalisation as a layer,
and a count of the predictions one by one on the host. Ours is `certflow.sampling.engine.count_classes`. Both classify noisy
copies of the same image by the same weights, in turns, on one thread; CPU seconds are compared (seconds on a GPU). The
C library's allocator and torch's arithmetic are set for each as its own process would have them. Ours is also measured in
exact arithmetic, on a GPU (the default where there is one) also compiled, and on a CPU in float32 also with convolutions
by C code of ours (`inference: {native: true}`); what it gains shows in the share of the peak, which may pass 100 %.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import (
    CIFAR,
    IMAGENET,
    MNIST,
    PRECISIONS,
    SIGMA,
    default_device,
    field_network,
    like_ours,
    like_the_field,
    machine,
    native_precisions,
    network,
    seconds,
    table,
    ways,
)
from certflow.data.base import DataInfo
from certflow.models.base import Inference, Precision
from certflow.noise import Gaussian, Stream
from certflow.noise.base import Key
from certflow.sampling.base import Arithmetic
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.fast.row_loop import Kept


@dataclass(frozen=True)
class Case:
    """An architecture, the data it takes, the field's batch, and how many draws make one measurement."""

    model: dict
    info: DataInfo
    batch: int
    draws: int
    rounds: int
    gpu_draws: int
    gpu_rounds: int = 2

    def on(self, device: torch.device) -> "Case":
        """The case with as much work as the device does in a second or less."""
        if device.type == "cpu":
            return self
        return replace(self, draws=self.gpu_draws, rounds=self.gpu_rounds)


CASES = {
    "lenet": Case({"kind": "lenet"}, MNIST, batch=400, draws=4000, rounds=6, gpu_draws=819_200),
    "cifar_resnet20": Case(
        {"kind": "cifar_resnet", "depth": 20}, CIFAR, batch=400, draws=800, rounds=4, gpu_draws=204_800
    ),
    "cifar_resnet110": Case(
        {"kind": "cifar_resnet", "depth": 110}, CIFAR, batch=1000, draws=1000, rounds=1, gpu_draws=20_480
    ),
    "cifar_wrn40_2": Case(
        {"kind": "wide_resnet", "depth": 40, "width": 2}, CIFAR, batch=1000, draws=200, rounds=2, gpu_draws=24_576
    ),
    "imagenet_resnet50": Case({"kind": "resnet50"}, IMAGENET, batch=400, draws=64, rounds=1, gpu_draws=4096),
}


@torch.no_grad()
def field_counts(
    model: torch.nn.Module, image: torch.Tensor, draws: int, batch: int, classes: int, sigma: float = SIGMA
) -> np.ndarray:
    """Class counts of noisy copies of one image [channels, height, width], the field's way."""
    counts = np.zeros(classes, dtype=int)
    while draws > 0:
        rows = min(batch, draws)
        draws -= rows
        copies = image.repeat((rows, 1, 1, 1))
        predictions = model(copies + torch.randn_like(copies) * sigma).argmax(1)
        for prediction in predictions.cpu().numpy():
            counts[prediction] += 1
    return counts


@dataclass(frozen=True)
class Variant:
    """One way of running ours: a row of the table."""

    base: BaseClassifier
    ours: Callable[[], object]
    exact: Callable[[], object]
    noise: Callable[[], object]
    forward: Callable[[], object]

    @property
    def work(self) -> dict[str, Callable[[], object]]:
        return {name: getattr(self, name) for name in ("ours", "exact", "noise", "forward")}


def variant(
    case: Case, model: torch.nn.Module, inference: Inference, batch: int | None, device: torch.device
) -> Variant:
    """Ours at a precision and batch size; `noise` and `forward` are those parts alone, for one batch."""
    base = BaseClassifier(
        model, inference, shape=case.info.shape, classes=case.info.classes, device=device, batch=batch
    )
    noise, image = Gaussian(sigma=SIGMA), torch.randint(0, 256, (1, *case.info.shape), dtype=torch.uint8)
    index, draws = np.zeros(1, np.int64), np.array([case.draws])
    rows = torch.arange(base.batch, device=device)
    options: dict[str, Any] = {"noise": noise, "seed": 0, "stream": Stream.ESTIMATION, "quiet": True}
    kept: dict[Arithmetic, Kept] = {"float": Kept(), "exact": Kept()}  # a graph serves all images of a job
    warm = np.array([min(case.draws, (1 if device.type == "cpu" else 8) * base.batch)])
    key = Key(torch.zeros_like(rows), rows, seed=0, stream=Stream.ESTIMATION)
    noisy = base.prepare(image) + noise.sample(case.info.shape, key)
    for arithmetic in kept:  # first call: kernels are chosen and compiled, memory is taken, a graph is made
        count_classes(base, image, index, warm, arithmetic=arithmetic, kept=kept[arithmetic], **options)
    return Variant(
        base,
        ours=lambda: count_classes(base, image, index, draws, kept=kept["float"], **options),
        exact=lambda: count_classes(base, image, index, draws, arithmetic="exact", kept=kept["exact"], **options),
        noise=lambda: noise.sample(case.info.shape, key),
        forward=torch.inference_mode()(lambda: base.logits(noisy)),
    )


def operations(model: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Multiplications and additions of convolutions and linear layers for one image."""
    found = []

    def count(layer, _, output):
        found.append(2 * layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1))

    layers = [part for part in model.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return sum(found)


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of one large matrix product, the best of five."""
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def measure(name: str, options: argparse.Namespace, device: torch.device) -> list[dict]:
    """One row per precision and batch size: the field and all variants in turns, the fastest round of each."""
    case = CASES[name].on(device)
    case = replace(case, draws=options.draws or case.draws)
    torch.manual_seed(0)
    model = network(case.model, case.info).eval()
    flops = operations(model, case.info.shape)
    field = field_network(case.model, case.info, model).to(device)
    clean = torch.rand(case.info.shape, device=device)
    compiled = options.compile or ([False] if device.type == "cpu" else [False, True])
    variants = [  # a network without such convolutions has no native row
        one
        for inference in ways(options.precisions, device, compiled)
        for batch in options.batches or [None]
        if (one := variant(case, model, inference, batch, device)).base.describe()["native"] == inference.native
    ]
    field_counts(field, clean, case.batch if device.type == "cuda" else 64, case.batch, case.info.classes)
    times: dict[object, list[float]] = {}
    for _ in range(options.rounds or case.rounds):
        like_the_field()
        spent = seconds(lambda: field_counts(field, clean, case.draws, case.batch, case.info.classes), device)
        times.setdefault("field", []).append(spent)
        like_ours()
        for number, one in enumerate(variants):
            for part, call in one.work.items():
                times.setdefault((number, part), []).append(seconds(call, device))
    return [_row(name, case, one, number, times, flops, device) for number, one in enumerate(variants)]


def _row(name, case: Case, one: Variant, number: int, times: dict, flops: int, device: torch.device) -> dict:
    field = times["field"]
    ours, exact, noise, forward = (min(times[number, part]) for part in one.work)
    batches = case.draws / one.base.batch
    noise_share, forward_share = noise * batches / ours, forward * batches / ours
    return {
        "network": name,
        **one.base.describe(),
        "batch": one.base.batch,
        "draws_per_second": case.draws / ours,
        "field_batch": case.batch,
        "field_draws_per_second": case.draws / min(field),
        "ratio_min": min(field) / ours,
        "ratio_median": statistics.median(a / b for a, b in zip(field, times[number, "ours"], strict=True)),
        "noise_share": noise_share,
        "forward_share": forward_share,
        "rest_share": max(0.0, 1 - noise_share - forward_share),
        "noise_ns_per_value": noise / one.base.batch / case.info.dim * 1e9,
        "share_of_peak": flops * case.draws / forward / batches / peak(device, one.base.dtype),
        "exact_draws_per_second": case.draws / exact,
    }


COLUMNS = {
    "network": ("network", "{}"),
    "precision": ("precision", "{}"),
    "compiled": ("compiled", "{}"),
    "native": ("native", "{}"),
    "batch": ("batch", "{}"),
    "field_draws_per_second": ("field, draws/s", "{:.0f}"),
    "draws_per_second": ("ours, draws/s", "{:.0f}"),
    "ratio_min": ("ratio", "{:.2f}"),
    "ratio_median": ("median", "{:.2f}"),
    "forward_share": ("forward", "{:.0%}"),
    "noise_share": ("noise", "{:.1%}"),
    "rest_share": ("rest", "{:.1%}"),
    "share_of_peak": ("of matmul peak", "{:.0%}"),
    "exact_draws_per_second": ("exact, draws/s", "{:.0f}"),
}
"""Key → heading and format. `rest`: adding the image, layout, argmax, counting."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: all; on a CPU all but ImageNet")
    parser.add_argument("--rounds", type=int, help="measurements of each variant (default: some seconds' worth)")
    parser.add_argument("--draws", type=int, help="noisy copies in one measurement (default: by network and device)")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--precisions", nargs="+", choices=get_args(Precision), help=PRECISIONS)
    parser.add_argument("--batches", nargs="+", type=int, help="rows per forward pass (default: by device and image)")
    parser.add_argument(
        "--compile",
        nargs="*",
        choices=[True, False],
        type=lambda text: {"yes": True, "no": False}[text],
        help="noise and network compiled (`yes`, up to a minute each), as they are (`no`), or `yes no` in turns",
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    options.precisions = options.precisions or native_precisions(device)
    cases = options.cases or [name for name in CASES if device.type == "cuda" or name != "imagenet_resnet50"]
    rows = [row for name in cases for row in measure(name, options, device)]
    report = {"machine": machine(device), "rows": rows}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print(table(COLUMNS, rows))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
