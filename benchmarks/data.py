"""Speed of training batches against the field's loader: `python benchmarks/data.py [--json FILE]`, under a minute.

The field's loader is torchvision's: each image becomes a Pillow image, is padded by 4 and cropped to 32×32 at random, mirrored
with probability ½, turned into a float tensor, and collated into batches of 256 by torch's `DataLoader` in the same process.
Ours is `certflow.data.batches`: CIFAR-sized bytes on the device, one gather per batch. Measured in turns, on one thread; CPU
seconds are compared (seconds on a GPU). Also: what it costs to prepare a split, to open it and to read it.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import CIFAR, FieldDataset, default_device, in_turns, machine, random_split
from certflow.data import cache
from certflow.data.batches import batches
from certflow.data.splits import ArraySplit

BATCH = 256


def exhaust(epoch: Iterable) -> None:
    for _ in epoch:
        pass


def measure_batches(images: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Images per second with crops and flips; the field's loader takes an eighth of the images, its cost being per image."""
    split, eighth = random_split(CIFAR, images), images // 8
    small = ArraySplit(split.images[:eighth], split.labels[:eighth], "random")
    field = torch.utils.data.DataLoader(FieldDataset(small, CIFAR), batch_size=BATCH, shuffle=True)
    ours = batches(split, device=device, batch=BATCH, seed=0, augmentation="crop_flip")
    plain = batches(split, device=device, batch=BATCH, seed=0, augmentation="none")
    epochs = itertools.count()
    works = {
        "field": lambda: exhaust(field),
        "ours": lambda: exhaust(ours.epoch(next(epochs))),
        "plain": lambda: exhaust(plain.epoch(next(epochs))),
    }
    times = in_turns(works, rounds, device)
    times["field"] = [spent * images / eighth for spent in times["field"]]
    best = {name: min(values) for name, values in times.items()}
    return {
        "field_images_per_second": images / best["field"],
        "images_per_second": images / best["ours"],
        "images_per_second_unaugmented": images / best["plain"],
        "ratio_min": best["field"] / best["ours"],
        "ratio_median": statistics.median(a / b for a, b in zip(times["field"], times["ours"], strict=True)),
    }


def measure_opening(images: int) -> dict[str, float]:
    """Wall-clock seconds of preparing a split, opening it, and reading all of its images with their checksums."""
    split = random_split(CIFAR, images)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CERTFLOW_CACHE"] = folder
        start = time.perf_counter()
        entry = cache.store(split, CIFAR)
        stored = time.perf_counter()
        opened = cache.load(entry, CIFAR, "random", Path(folder), None)
        loaded = time.perf_counter()
        opened.read(np.arange(images))
        read = time.perf_counter()
    return {"prepare_seconds": stored - start, "open_seconds": loaded - stored, "read_seconds": read - loaded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="images in the split (CIFAR-10 has 50,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device(default_device()))
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    if arguments.images < 8 or arguments.rounds < 1:
        parser.error("--images must be at least 8 and --rounds at least 1")
    torch.set_num_threads(1)
    result = {
        **machine(arguments.device),
        "batch": BATCH,
        "images": arguments.images,
        **measure_batches(arguments.images, arguments.rounds, arguments.device),
        **measure_opening(arguments.images),
    }
    for name, value in result.items():
        print(f"{name:32} {value:,.4g}" if isinstance(value, float) else f"{name:32} {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
