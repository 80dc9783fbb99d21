"""Against other libraries: certifying by the Adversarial Robustness Toolbox, by `certflow.doors.art` and by our own interface.

`python benchmarks/libraries.py`: the same network and image, in turns on one thread, in CPU seconds a draw, the fastest of
several rounds each. ART runs at its default batch and at larger ones, and is judged by its best.
`certflow.doors.art` has its constructor and calls; `SmoothedClassifier` is what stands behind it, here in every precision that
the CPU has units for. ART is not among the pinned packages: an environment that has it beside ours is made by

    uv venv ART && uv pip install --python ART/bin/python adversarial-robustness-toolbox -e .

Where it is missing the script says so and compares nothing.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import CIFAR, MNIST, SIGMA, called, in_turns, machine, native_precisions, network, ways
from certflow import SmoothedClassifier
from certflow.data.base import DataInfo
from certflow.doors.art import PyTorchRandomizedSmoothing
from certflow.models.base import Inference
from certflow.noise import Gaussian

CASES = {
    "LeNet, 1x28x28": ({"kind": "lenet"}, MNIST, 8_000),
    "ResNet-20, 3x32x32": ({"kind": "cifar_resnet", "depth": 20}, CIFAR, 4_000),
}
BATCHES = (32, 256, 1024)
"""ART's default, and larger ones."""
N0, ALPHA = 100, 0.001
MORE = 5
"""Ours makes so many times as many draws: a call prepares the network anew, which would count for more than at N = 100,000."""


def calls(toolbox: type, model: dict, info: DataInfo, n: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name: one image certified with n draws, by ours with `MORE` times as many."""
    x = np.random.default_rng(0).random((1, *info.shape), dtype=np.float32)
    whole = network(model, info).eval()
    given: dict[str, Any] = {
        "model": whole,
        "loss": None,
        "input_shape": info.shape,
        "nb_classes": info.classes,
        "device_type": "cpu",
    }
    given |= {"sample_size": N0, "scale": SIGMA, "alpha": ALPHA}
    theirs, adaptor = toolbox(**given), PyTorchRandomizedSmoothing(**given)
    options: dict[str, Any] = {"classes": info.classes, "device": "cpu"}
    found: dict[str, Callable[[], object]] = {
        f"ART, batch {batch}": partial(theirs.certify, x, n=n, batch_size=batch) for batch in BATCHES
    }
    found["doors.art"] = lambda: adaptor.certify(x, n=MORE * n)
    for inference in our_ways():
        own = SmoothedClassifier(whole, Gaussian(sigma=SIGMA), **options, inference=inference)
        found[called(inference)] = partial(own.certify_arrays, x, n=MORE * n, n0=N0, alpha=ALPHA, quiet=True)
    return found


def our_ways() -> list[Inference]:
    """Our own interface in every precision that the CPU has units for, and by native convolutions."""
    cpu = torch.device("cpu")
    return ways(native_precisions(cpu), cpu)


def ours() -> list[str]:
    """The calls that ART's are compared with."""
    return ["doors.art", *(called(inference) for inference in our_ways())]


def row(name: str, n: int, seconds: dict[str, float]) -> str:
    """Markdown: draws per second of each, and ours and the adaptor's against ART's default and best."""
    made = dict.fromkeys(seconds, n + N0) | dict.fromkeys(ours(), MORE * n + N0)
    rates = {call: made[call] / value for call, value in seconds.items()}
    theirs = [rates[f"ART, batch {batch}"] for batch in BATCHES]
    ratios = [rates[mine] / rate for mine in ours() for rate in (theirs[0], max(theirs))]
    cells = [name, f"{n:,}", *(f"{rate:,.0f}" for rate in rates.values()), *(f"{ratio:.1f}" for ratio in ratios)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing as Toolbox
    except ImportError as error:
        print(f"adversarial-robustness-toolbox is not installed ({error}); nothing to compare with")
        return
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    print(", ".join(f"{key} {value}" for key, value in machine(cpu).items()))
    names = [*(f"ART, batch {batch}" for batch in BATCHES), *ours()]
    ratios = [f"{mine} / {theirs}" for mine in ours() for theirs in ("ART default", "ART best")]
    headings = ["network", "n of ART", *(f"{name}, draws/s" for name in names), *ratios]
    print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
    for name, (model, info, n) in CASES.items():
        times = in_turns(calls(Toolbox, model, info, n), options.rounds, cpu)
        print(row(name, n, {call: min(values) for call, values in times.items()}), flush=True)


if __name__ == "__main__":
    main()
