"""Speed of sampling a denoiser and a classifier: `python benchmarks/denoised.py [--json FILE]`, a minute or two.

The straightforward loop calls the denoiser, then the classifier, on noisy copies of one image: float32 in NCHW, batch
normalisation as layers, noise from torch's stateful generator, predictions counted one by one on the host. Ours is
`certflow.sampling.engine.count_classes` on the pair as one module: normalisations folded into convolutions, what follows a
convolution fused with it, channels last. Same weights, in turns, on one thread; CPU seconds are compared (seconds on a GPU).
`--profile` shows what either spends its time in, operator by operator.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import (
    CIFAR,
    MNIST,
    PRECISIONS,
    SIGMA,
    called,
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
from benchmarks.operators import operator_table, operators
from benchmarks.sampling import field_counts
from certflow.data.base import DataInfo
from certflow.denoising.composed import DenoiseThenClassify
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes


@dataclass(frozen=True)
class Case:
    """A denoiser, a classifier, the data they take, the loop's batch, and how many draws make one measurement."""

    denoiser: dict
    classifier: dict
    info: DataInfo
    batch: int
    draws: int


UNET = {"kind": "diffusion", "widths": (16, 32, 64), "layers": 1, "attention": (2,), "head_dim": 16, "groups": 8}
CASES = {
    "mnist-dncnn": Case({"kind": "dncnn", "depth": 8, "width": 32}, {"kind": "lenet"}, MNIST, 400, 800),
    "mnist-drunet": Case(
        {"kind": "drunet", "widths": (16, 32, 64, 128), "blocks": 1}, {"kind": "lenet"}, MNIST, 400, 800
    ),
    "mnist-diffusion": Case(UNET, {"kind": "lenet"}, MNIST, 400, 400),
    "cifar-dncnn": Case({"kind": "dncnn"}, {"kind": "cifar_resnet", "depth": 20}, CIFAR, 400, 400),
}


class Pair(torch.nn.Module):
    """The denoiser, then the classifier, as two networks."""

    def __init__(self, denoiser: torch.nn.Module, classifier: torch.nn.Module):
        super().__init__()
        self.denoiser, self.classifier = denoiser, classifier

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.denoiser(y))


def measure(name: str, options: argparse.Namespace, device: torch.device) -> list[dict]:
    """One row per precision: the straightforward loop and ours in turns."""
    case = CASES[name]
    torch.manual_seed(0)
    classifier = network(case.classifier, case.info).eval()
    fields = {key: value for key, value in case.denoiser.items() if key != "kind"}
    denoiser = spec_class("denoiser", case.denoiser["kind"])(**fields).build(case.info, SIGMA).eval()
    pair = Pair(denoiser, field_network(case.classifier, case.info, classifier)).to(device).eval()
    composed = DenoiseThenClassify(denoiser, classifier).eval()
    image, clean = torch.randint(0, 256, (1, *case.info.shape), dtype=torch.uint8), torch.rand(case.info.shape)
    index, draws, noise = np.zeros(1, np.int64), np.array([case.draws]), Gaussian(sigma=SIGMA)
    keyed: dict[str, Any] = {"noise": noise, "seed": 0, "stream": Stream.ESTIMATION, "quiet": True}
    bases = {
        called(way): BaseClassifier(composed, way, shape=case.info.shape, classes=case.info.classes, device=device)
        for way in ways(options.precisions, device)
    }
    for base in bases.values():
        count_classes(base, image, index, np.array([base.batch]), **keyed)
    field_counts(pair, clean.to(device), 64, 64, case.info.classes)
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        like_the_field()
        loop = seconds(lambda: field_counts(pair, clean.to(device), case.draws, case.batch, case.info.classes), device)
        times.setdefault("loop", []).append(loop)
        like_ours()
        for way, base in bases.items():
            spent = seconds(lambda base=base: count_classes(base, image, index, draws, **keyed), device)
            times.setdefault(way, []).append(spent)
    rows = [{"way": way, **_row(name, case, base, times["loop"], times[way])} for way, base in bases.items()]
    if options.profile:
        like_the_field()
        loop = partial(field_counts, pair, clean.to(device), case.batch, case.batch, case.info.classes)
        theirs = operators(loop, device, case.batch)
        for row, base in zip(rows, bases.values(), strict=True):
            ours = partial(count_classes, base, image, index, np.array([base.batch]), **keyed)
            row["operators"] = {"loop": theirs, "ours": operators(ours, device, base.batch)}
    return rows


def _row(name: str, case: Case, base: BaseClassifier, loop: list[float], ours: list[float]) -> dict:
    return {
        "pair": name,
        **base.describe(),
        "batch": base.batch,
        "loop_draws_per_second": case.draws / min(loop),
        "draws_per_second": case.draws / min(ours),
        "ratio_min": min(loop) / min(ours),
        "ratio_median": statistics.median(a / b for a, b in zip(loop, ours, strict=True)),
    }


COLUMNS = {
    "pair": ("pair", "{}"),
    "way": ("precision", "{}"),
    "folded": ("folded", "{}"),
    "fused": ("fused", "{}"),
    "loop_draws_per_second": ("loop, draws/s", "{:.0f}"),
    "draws_per_second": ("ours, draws/s", "{:.0f}"),
    "ratio_min": ("ratio", "{:.2f}"),
    "ratio_median": ("median", "{:.2f}"),
}


def _profile(rows: list[dict]) -> str:
    """The loop of one pair beside ours in each precision."""
    found = {"loop, float32": rows[0]["operators"]["loop"]}
    return operator_table(found | {f"ours, {row['way']}": row["operators"]["ours"] for row in rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each variant")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], help=PRECISIONS)
    parser.add_argument("--profile", action="store_true", help="also one batch of each, operator by operator")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    options.precisions = options.precisions or native_precisions(device)
    rows = [row for name in options.cases for row in measure(name, options, device)]
    report = {"machine": machine(device), "rows": rows}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print(table(COLUMNS, rows))
    for name in options.cases if options.profile else []:
        print(f"\n{name}, microseconds per draw\n{_profile([row for row in rows if row['pair'] == name])}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
