"""Speed of sampling against the field's loop: `python benchmarks/sampling.py [--json FILE]`, under a minute.

The field's loop is that of the scripts that descend from Cohen et al. (2019): the image repeated to the size of the batch,
noise from torch's stateful generator, float32 in NCHW, normalisation by repeated tensors, batch normalisation as a layer,
and a count of the predictions one by one on the host. Ours is `lib.sampling.engine.count_classes`. Both classify noisy
copies of the same image by the same weights, in turns, on one thread; CPU seconds are compared (seconds on a GPU). The
C library's allocator is set for each as its own process would have it. Ours is also measured in exact arithmetic.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import CIFAR, MNIST, SIGMA, field_network, machine, network, seconds
from lib.data.base import DataInfo
from lib.models.base import Inference
from lib.noise import Gaussian, Stream
from lib.sampling.classifier import BaseClassifier
from lib.sampling.engine import count_classes
from lib.sampling.memory import keep_freed_memory, restore_default


@dataclass(frozen=True)
class Case:
    """An architecture, the data it takes, the field's batch, and how many draws make one measurement."""

    model: dict
    info: DataInfo
    batch: int
    draws: int
    rounds: int


CASES = {
    "lenet": Case({"kind": "lenet"}, MNIST, batch=400, draws=4000, rounds=6),
    "cifar_resnet20": Case({"kind": "cifar_resnet", "depth": 20}, CIFAR, batch=400, draws=800, rounds=4),
    "cifar_resnet110": Case({"kind": "cifar_resnet", "depth": 110}, CIFAR, batch=1000, draws=1000, rounds=1),
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


def measure(name: str, rounds: int | None, device: torch.device, inference: Inference, batch: int | None) -> dict:
    """Field, ours, and our noise alone, in turns; ratios by the fastest round and by the median."""
    case = CASES[name]
    torch.manual_seed(0)
    model = network(case.model, case.info).eval()
    noise, dim = Gaussian(sigma=SIGMA), case.info.dim
    image = torch.randint(0, 256, (1, *case.info.shape), dtype=torch.uint8)
    index, draws = np.zeros(1, np.int64), np.array([case.draws])
    base = BaseClassifier(
        model, inference, shape=case.info.shape, classes=case.info.classes, device=device, batch=batch
    )
    field, clean = field_network(case.model, case.info, model).to(device), image[0].to(device) / 255
    rows = torch.arange(base.batch, device=device)
    options = {"noise": noise, "seed": 0, "stream": Stream.ESTIMATION, "quiet": True}
    keyed = {"image": torch.zeros_like(rows), "draw": rows, "seed": 0, "stream": Stream.ESTIMATION}
    work = {
        "field": lambda: field_counts(field, clean, case.draws, case.batch, case.info.classes),
        "ours": lambda: count_classes(base, image, index, draws, **options),
        "exact": lambda: count_classes(base, image, index, draws, arithmetic="exact", **options),
        "noise": lambda: noise.sample(case.info.shape, **keyed),
        "exact noise": lambda: noise.steps(case.info.shape, **keyed),
    }
    field_counts(field, clean, 64, 64, case.info.classes)  # first call: kernels are chosen, memory is taken
    for arithmetic in ("float", "exact"):
        count_classes(base, image, index, np.array([base.batch]), arithmetic=arithmetic, **options)
    times = {variant: [] for variant in work}
    for _ in range(rounds or case.rounds):
        for variant, call in work.items():
            restore_default() if variant == "field" else keep_freed_memory()
            times[variant].append(seconds(call, device))
    best = {variant: min(values) for variant, values in times.items()}
    per_draw, per_exact_draw = best["noise"] / base.batch, best["exact noise"] / base.batch
    return {
        "field_draws_per_second": case.draws / best["field"],
        "draws_per_second": case.draws / best["ours"],
        "field_batch": case.batch,
        "batch": base.batch,
        "ratio_min": best["field"] / best["ours"],
        "ratio_median": statistics.median(a / b for a, b in zip(times["field"], times["ours"], strict=True)),
        "noise_share": per_draw * case.draws / best["ours"],
        "noise_ns_per_value": per_draw / dim * 1e9,
        "exact_draws_per_second": case.draws / best["exact"],
        "exact_noise_share": per_exact_draw * case.draws / best["exact"],
        "exact_noise_ns_per_value": per_exact_draw / dim * 1e9,
        **base.describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, help="measurements of each variant (default: some seconds' worth)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    parser.add_argument("--compile", action="store_true", help="compile noise and network (takes up to a minute each)")
    parser.add_argument("--batch", type=int, help="rows per forward pass of ours (default: by device and image size)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    inference = Inference(precision=options.precision, compile=options.compile)
    report = {"machine": machine(device), "cases": {}}
    for name in options.cases:
        found = measure(name, options.rounds, device, inference, options.batch)
        report["cases"][name] = found
        print(
            f"{name}: {found['draws_per_second']:.0f} draws/s at batch {found['batch']}, the field "
            f"{found['field_draws_per_second']:.0f} at {found['field_batch']}: {found['ratio_min']:.2f} times "
            f"(median of rounds {found['ratio_median']:.2f}); noise {found['noise_share']:.1%} of the time, "
            f"{found['noise_ns_per_value']:.1f} ns a value; in exact arithmetic {found['exact_draws_per_second']:.0f} draws/s, "
            f"noise {found['exact_noise_share']:.1%}, {found['exact_noise_ns_per_value']:.1f} ns"
        )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
