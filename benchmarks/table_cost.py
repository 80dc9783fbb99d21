"""What a table of certified accuracy costs: `python benchmarks/table_cost.py`, some 40 minutes on one thread of a CPU.

The same network, the same images, in one run: the field's loop at N = 100,000 draws per image with Cohen's certificate, and
the sampler `decide` on our engine, which stops an image when its radius among the table's columns is settled. Stage 1 and the
making of the tests count. On a CPU ours has native convolutions (`inference: {native: true}` in the model's entry). Networks
are LeNet on MNIST and ResNet-8 on CIFAR-10 re-encoded as JPEG (`$CERTFLOW_DATA/cifar10-jpeg`, a folder per class), each trained
on the spot for the few epochs that `CASES` states; where their images are missing, a small network on the embedded digits. How
many draws `decide` takes depends on the images that lie near a radius, a few in a hundred; LeNet is fast enough for 400.
`--model` takes a model file of the pipeline instead.

The field's loop makes `--field-draws` draws of the first image, half before and half after ours, and its rate is carried over
to all. The accuracy at N = 100,000 is that of our own draws, which stop once it is all but certain (`UNSETTLED`) which columns
of the table the image would reach. The last lines say how many times less time ours takes, by network and precision.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.special import ndtr

from benchmarks.field import (
    PRECISIONS,
    default_device,
    fastest,
    field_network,
    like_ours,
    like_the_field,
    machine,
    native_precisions,
)
from benchmarks.sampling import field_counts
from certflow.data.base import DataInfo, DatasetSpec, Split, SplitName
from certflow.data.store import open_split, prepare
from certflow.errors import DataError
from certflow.kinds.registry import revive, spec_class
from certflow.models import build, load_model
from certflow.models.base import Precision
from certflow.models.header import read_header
from certflow.noise import Gaussian, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.kinds.decide import Decide
from certflow.sampling.ladder import chance
from certflow.sampling.sequential import count_until
from certflow.stats.estimate import most_misses
from certflow.stats.optimal import growing_looks
from certflow.training.kinds.gaussian import Gaussian as GaussianTraining
from certflow.training.loop import train

RADII = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
ALPHA = 0.001
DECIDE = {"judge": "label", "test": "optimal", "look": 50, "alpha": ALPHA}
UNSETTLED = 0.002
"""The reference stops an image where each column's outcome at N draws has a smaller chance than this to be another one."""


@dataclass(frozen=True)
class Case:
    """A network, what it is trained on, and for how long."""

    model: dict
    dataset: dict
    sigma: float
    epochs: int
    lr: float = 0.05
    images: int = 100


CASES = {
    "lenet": Case({"kind": "lenet"}, {"kind": "mnist"}, 1.0, 3, images=400),
    "cifar_resnet8": Case(
        {"kind": "cifar_resnet", "depth": 8},
        {
            "kind": "image_folder",
            "root": str(Path(os.environ.get("CERTFLOW_DATA", "data")) / "cifar10-jpeg"),
            "classes": 10,
            "shape": [3, 32, 32],
            "mean": [0.4914, 0.4822, 0.4465],
            "sd": [0.2023, 0.1994, 0.2010],
            "augmentation": "crop_flip",
        },
        0.5,
        3,
        0.1,
    ),
    "digits": Case({"kind": "small_conv"}, {"kind": "digits"}, 0.5, 20),
}


@dataclass(frozen=True)
class Subject:
    """A trained network, what it is tested on, and on how many images unless asked otherwise."""

    name: str
    model: dict
    network: torch.nn.Sequential
    info: DataInfo
    split: Split
    images: int = 100


def trained(name: str, case: Case, device: torch.device) -> Subject:
    """The case's network, trained from scratch."""
    dataset = spec_class("dataset", case.dataset["kind"])(**case.dataset)
    method = GaussianTraining(epochs=case.epochs, batch=128, lr=case.lr, schedule="one_cycle", nesterov=True)
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "data.json"
        splits = _opened(dataset, manifest, "train"), _opened(dataset, manifest, "test")
    torch.manual_seed(0)
    network, start = build(spec_class("model", case.model["kind"])(**case.model), dataset.info()), time.process_time()
    train(method, network.to(device), *splits, noise=Gaussian(sigma=case.sigma), seed=0, device=device, quiet=True)
    print(f"{name}: trained for {case.epochs} epochs, {time.process_time() - start:.0f} CPU seconds", flush=True)
    return Subject(name, case.model, network, dataset.info(), splits[1], case.images)


def _opened(dataset: DatasetSpec, manifest: Path, split: SplitName) -> Split:
    if not manifest.exists():
        prepare(dataset, manifest)
    return open_split(dataset, manifest, split)


def stored(model: Path, manifest: Path) -> Subject:
    """A trained model of the pipeline, with the test split it belongs to."""
    entries = read_header(model)[0].spec
    dataset, spec = revive("dataset", entries["dataset"]), revive("model", entries["model"])
    network, _ = load_model(model, spec, dataset.info())
    return Subject(model.stem, spec.model_dump(), network, dataset.info(), open_split(dataset, manifest, "test"))


def subjects(options: argparse.Namespace, device: torch.device) -> list[tuple[Subject, float]]:
    """What is measured, with its noise level. Digits stand in for images that are missing."""
    if options.model:
        return [(stored(options.model, options.manifest), options.sigma or 0.5)]
    found = []
    for name in options.cases:
        case = CASES[name]
        try:
            found.append((trained(name, case, device), options.sigma or case.sigma))
        except DataError as error:
            print(f"{name}: its images are missing, so there is nothing to train it on ({str(error).splitlines()[0]})")
    if not found:
        print("digits stand in")
        found.append((trained("digits", CASES["digits"], device), options.sigma or CASES["digits"].sigma))
    return found


@dataclass(frozen=True)
class Settled:
    """A stopping rule: until it is all but certain which radii the certificate of `last` draws would give."""

    looks: np.ndarray
    needed: np.ndarray
    """int64 [radii]: hits among the last look's draws that certify each radius."""

    def judge(self, look: int, k: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `StoppingRule.judge`."""
        last = int(self.looks[-1])
        likely = np.column_stack([chance(k, self.looks[look], last, needed) for needed in self.needed.tolist()])
        settled = (likely < UNSETTLED) | (likely > 1 - UNSETTLED)
        return np.array([-1.0, *RADII])[(likely >= 0.5).sum(axis=1)], np.logical_and.reduce(settled, axis=1)

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        """See `StoppingRule.most`."""
        return np.full(len(k), RADII[-1])


def reference(base: BaseClassifier, images, index, labels, noise: Gaussian, n: int) -> np.ndarray:
    """float64 [images]: the largest of RADII that Cohen's certificate at n draws gives the label; -1: none."""
    limits = ndtr(-np.array(RADII) / noise.sigma)
    misses = most_misses(limits, n, ALPHA)
    rule = Settled(growing_looks(min(1000, n), n), np.where(misses >= 0, n - misses, n + 1))
    return count_until(base, images, index, labels, rule, **_drawn(noise, Stream.PREDICTION)).decided


def ours(base: BaseClassifier, images, index, labels, noise: Gaussian) -> tuple[np.ndarray, float]:
    """(largest radius held or -1 of each image, mean draws) by `decide`: stage 1, the plan, stage 2."""
    sampler = Decide.model_validate({"radii": RADII, **DECIDE})
    first = np.full(len(index), sampler.n0)
    counts = count_classes(base, images, index, first, **_drawn(noise, Stream.SELECTION)).counts
    k0 = counts[np.arange(len(index)), labels]
    plan = {"n": np.full(len(index), sampler.n_max), "selected": labels, "k0": k0}
    (measurement,) = sampler.measurements(sampler.planned(plan, noise))
    assert measurement.rule is not None, "images end where they are decided"
    found = count_until(base, images, index, labels, measurement.rule, **_drawn(noise, Stream.ESTIMATION))
    return found.decided, float(found.drawn.mean()) + sampler.n0


def _drawn(noise: Gaussian, stream: Stream) -> dict[str, Any]:
    return {"noise": noise, "seed": 0, "stream": stream, "quiet": True}


R = TypeVar("R")


def seconds_of(call: Callable[[], R]) -> tuple[R, float]:
    """What `call` returns, and the CPU seconds it took (on a GPU: seconds)."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    result = call()
    return result, clock() - start


def field_seconds(subject: Subject, image: np.ndarray, draws: int, sigma: float, device: torch.device) -> float:
    """Seconds of one draw by the field's loop."""
    network = subject.network
    if subject.info.mean or subject.model["kind"] == "lenet":
        network = field_network(subject.model, subject.info, network)
    network = network.to(device).eval()
    clean = torch.from_numpy(np.array(image)).to(device).float() / 255
    like_the_field()
    field_counts(network, clean, 400, 400, subject.info.classes, sigma)
    spent = seconds_of(lambda: field_counts(network, clean, draws, 400, subject.info.classes, sigma))[1]
    like_ours()
    return spent / draws


def measured(subject: Subject, sigma: float, precision: Precision, options, device: torch.device) -> dict:
    """The row of one network in one precision."""
    number = options.images or subject.images
    index = np.unique(np.linspace(0, len(subject.split) - 1, number).round().astype(np.int64))
    images, labels, noise = (
        subject.split.read(index),
        subject.split.labels[index].astype(np.int64),
        Gaussian(sigma=sigma),
    )
    field = [field_seconds(subject, images[0], options.field_draws // 2, sigma, device)]
    base = BaseClassifier(
        subject.network.eval(),
        fastest(precision, device),
        shape=subject.info.shape,
        classes=subject.info.classes,
        device=device,
    )
    count_classes(base, images[:1], index[:1], np.array([base.batch]), **_drawn(noise, Stream.SELECTION))  # warms up
    (radius, draws), seconds = seconds_of(lambda: ours(base, images, index, labels, noise))
    field.append(field_seconds(subject, images[0], options.field_draws // 2, sigma, device))
    theirs = reference(base, images, index, labels, noise, options.draws)
    mine, cohen = ((found[:, None] >= RADII).mean(axis=0) for found in (radius, theirs))
    whole = len(index) * (100 + options.draws) * float(np.mean(field))
    return {
        "network": subject.name,
        "precision": precision,
        "images": len(index),
        "sigma": sigma,
        "draws": options.draws,
        "mean_draws": draws,
        "seconds": seconds,
        "field_seconds": whole,
        "ratio": whole / seconds,
        "radii": RADII,
        "accuracy": mine.tolist(),
        "field_accuracy": cohen.tolist(),
        "lost": float((cohen - mine).max()),
    }


def line_of(row: dict) -> str:
    """The row for a reader."""
    lines = [
        f"{row['network']} {row['precision']}, {row['images']} images, sigma {row['sigma']:g}: "
        f"at most {row['lost']:.3f} of accuracy lost",
        f"  field's loop, N = {row['draws']:,}: {row['field_seconds']:,.0f} s at the rate of the draws it made",
        f"  decide on our engine: {row['seconds']:.1f} s, {row['mean_draws']:,.0f} draws an image",
        "  radius    " + " ".join(f"{radius:6.2f}" for radius in row["radii"]),
        f"  N={row['draws']:<7} " + " ".join(f"{share:6.3f}" for share in row["field_accuracy"]),
        "  decide    " + " ".join(f"{share:6.3f}" for share in row["accuracy"]),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["lenet", "cifar_resnet8"])
    parser.add_argument("--images", type=int, help="test images, evenly spread (default: that of the case)")
    parser.add_argument("--draws", type=int, default=100_000, help="N of the table that is compared with")
    parser.add_argument("--field-draws", type=int, default=20_000, help="draws that the field's loop is timed on")
    parser.add_argument("--precisions", nargs="+", choices=get_args(Precision), help=PRECISIONS)
    parser.add_argument("--sigma", type=float, help="noise level (default: that of the case; 0.5 for a model file)")
    parser.add_argument("--model", type=Path, help="a model.safetensors of the pipeline, trained at this sigma")
    parser.add_argument("--manifest", type=Path, help="results/data/<dataset>.json")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, rows = torch.device(options.device), []
    print(", ".join(f"{key} {value}" for key, value in machine(device).items()), flush=True)
    for subject, sigma in subjects(options, device):
        for precision in options.precisions or native_precisions(device):
            rows.append(measured(subject, sigma, precision, options, device))
            print(line_of(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(device), "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(f"{row['network']} {row['precision']}: {row['ratio']:.0f} times less time")


if __name__ == "__main__":
    main()
