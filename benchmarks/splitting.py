"""Speed of enumerating all outcomes against the published loop: `python benchmarks/splitting.py [--json FILE]`, some minutes.

The published loop, as it is described (Levine and Feizi 2021): two images at a time, each repeated 128 times; thresholds of 128
shifts from the fixed offsets and the middles of pieces in floating point; float32 in NCHW, normalisation by repeated tensors,
batch normalisation as a layer; softmax, and the predictions of each image added up. Ours is `count_classes` with `every`. Both
classify all outcomes of the same images by the same weights of a WideResNet-40-2, in turns, on one thread; CPU seconds are
compared (seconds on a GPU). In float32 on a CPU a second row has native convolutions. `cutting` is the
share of our time that it takes to make the copies.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import (
    CIFAR,
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
from certflow.models.base import Inference, Precision
from certflow.noise import DependentSplitting, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import copies_of
from certflow.sampling.engine import count_classes
from certflow.sampling.fast.row_loop import Kept

MODEL = {"kind": "wide_resnet", "depth": 40, "width": 2}
PAIR, REPEATS = 2, 128
"""Images and copies of each in a batch of the published loop."""
COLUMNS = {
    "sigma": ("sigma", "{:g}"),
    "precision": ("precision", "{}"),
    "theirs": ("published, rows/s", "{:.0f}"),
    "ours": ("ours, rows/s", "{:.0f}"),
    "ratio": ("ratio", "{:.2f}"),
    "cutting": ("cutting", "{:.2%}"),
    "votes_apart": ("votes apart", "{}"),
    "rows": ("of", "{}"),
}
"""Key → heading and format. A row is one noisy copy."""


@torch.no_grad()
def published_counts(model: torch.nn.Module, images: torch.Tensor, noise: DependentSplitting) -> np.ndarray:
    """Class counts int64 [images, classes] of float images [images, channels, height, width], the published way."""
    cuts, shape = noise.cuts, images.shape[1:]
    offsets = torch.from_numpy(np.random.RandomState(noise.offsets_seed).randint(cuts, size=math.prod(shape))).view(
        shape
    )
    offsets, found = offsets.to(images.device), []
    for pair in images.split(PAIR):
        votes = []
        for shift in torch.arange(cuts, device=images.device).split(REPEATS):
            cut = ((offsets + shift.view(-1, 1, 1, 1)) % cuts + 0.5) / 255
            cut = cut.repeat(len(pair), 1, 1, 1)
            x = pair.repeat_interleave(len(shift), dim=0)
            shown = middles(x, cut, cuts / 255)
            votes.append(model(shown).softmax(1).argmax(1).view(len(pair), -1))
        for row in torch.cat(votes, 1).cpu():
            found.append(torch.bincount(row, minlength=CIFAR.classes).numpy())
    return np.stack(found)


def middles(x: torch.Tensor, cut: torch.Tensor, width: float) -> torch.Tensor:
    """The middle of the piece of [0,1] that each value lies in."""
    if width >= 1:
        return ((x > cut).float() + cut.clamp(max=1)) / 2
    piece = torch.ceil((x - cut) / width)
    return ((cut + piece * width).clamp(max=1) + (cut + (piece - 1) * width).clamp(min=0)) / 2


def measure(sigma: float, images: int, rounds: int, inference: Inference, device: torch.device) -> dict:
    """One row: images per second of either way, and how the counts compare."""
    torch.manual_seed(0)
    ours, noise = network(MODEL, CIFAR).eval(), DependentSplitting(sigma=sigma)
    theirs = field_network(MODEL, CIFAR, ours).eval().to(device)
    pixels = torch.randint(0, 256, (images, *CIFAR.shape), dtype=torch.uint8)
    floats = (pixels / 255).to(device)
    base = BaseClassifier(ours, inference, shape=CIFAR.shape, classes=CIFAR.classes, device=device)
    how: dict[str, Any] = {"noise": noise, "seed": 0, "stream": Stream.ESTIMATION, "quiet": True}
    how |= {"arithmetic": "exact", "every": True}
    kept, number, found = Kept(), np.full(images, noise.cuts), {}

    def enumerated() -> None:
        found["ours"] = count_classes(base, pixels, np.arange(images), number, kept=kept, **how).counts

    def published() -> None:
        found["theirs"] = published_counts(theirs, floats, noise)

    enumerated()
    published()
    times = {"ours": [], "theirs": []}
    for _ in range(rounds):
        like_ours()
        times["ours"].append(seconds(enumerated, device))
        like_the_field()
        times["theirs"].append(seconds(published, device))
    spent = {name: statistics.median(values) for name, values in times.items()}
    rows = images * noise.cuts
    apart = int(np.abs(found["ours"] - found["theirs"]).sum() // 2)
    return {
        "sigma": sigma,
        "precision": called(inference) + " compiled" * inference.compile,
        "rows": rows,
        "ours": rows / spent["ours"],
        "theirs": rows / spent["theirs"],
        "ratio": spent["theirs"] / spent["ours"],
        "cutting": cutting(base, noise, pixels, device) * rows / spent["ours"],
        "votes_apart": apart,
    }


def cutting(base: BaseClassifier, noise: DependentSplitting, pixels: torch.Tensor, device: torch.device) -> float:
    """Seconds that it takes to make one copy, from batches as the engine makes them."""
    copies = copies_of(base, noise, seed=0, stream=1, arithmetic="exact", parameter=False, every=True)
    held, number = copies.hold(pixels)[0], torch.arange(base.batch, device=device) % noise.cuts

    def some() -> None:
        for _ in range(20):
            copies.rows(held, number, number, None)

    some()
    return statistics.median(seconds(some, device) for _ in range(5)) / (20 * base.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--device", default=default_device())
    parser.add_argument(
        "--images", type=int, default=3, help="3 fill whole batches at sigma 0.15: the last one is padded"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.15])
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(1)
    precisions: list[Precision] = ["float32", *(name for name in native_precisions(device) if name != "float32")]
    compiled = [False, True] if device.type == "cuda" else [False]
    rows = []
    for sigma, inference in itertools.product(given.sigmas, ways(precisions, device, compiled)):
        rows.append(row := measure(sigma, given.images, given.rounds, inference, device))
        print(f"sigma {sigma:g}, {row['precision']}: {row['ratio']:.2f} times", file=sys.stderr, flush=True)
    print(table(COLUMNS, rows))
    names = dict.fromkeys(row["precision"] for row in rows)
    mean = {n: math.exp(statistics.mean(math.log(r["ratio"]) for r in rows if r["precision"] == n)) for n in names}
    print("; ".join(f"{name}: {ratio:.2f} times" for name, ratio in mean.items()))
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(device), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
