"""Speed of the noise: `python benchmarks/noise.py [--json FILE]`, some seconds.

Nanoseconds per normal value, on one thread, variants in turns: torch's stateful generator, ours with uniforms from C and
from torch's integer operations (equal bits), with `--compile` also ours through `torch.compile`, numpy's counter-based
generator, of whole laws (Gaussian and generalised Gaussian noise, those of coordinates, those of a norm), and of Gaussian noise
in whole grey levels (`arithmetic: exact`) from C and from torch's operations.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import default_device, in_turns, machine
from certflow.noise import (
    Exp1,
    ExpInf,
    ExponentialPower,
    Gaussian,
    GeneralizedGaussian,
    Laplace,
    Pareto,
    Stream,
    Uniform,
    philox,
)
from certflow.noise.base import Key
from certflow.noise.fast import native

SHAPES = {784: 256, 3072: 128, 150_528: 4}
"""Values per image → images per call."""


@contextmanager
def without_c():
    """The torch version of the generator."""
    library = native._library
    native._library = lambda: None  # ty: ignore[invalid-assignment]  # as where there is no compiler
    try:
        yield
    finally:
        native._library = library


def in_torch(work: Callable[[], object]) -> None:
    with without_c():
        work()


def variants(dim: int, rows: int, device: torch.device, compiled: bool) -> dict[str, Callable[[], object]]:
    """What is measured: each call draws rows · dim normals."""
    image, draw = torch.full((rows,), 7, device=device), torch.arange(rows, device=device)
    key = Key(image, draw, seed=0x0123456789ABCDEF, stream=Stream.ESTIMATION)
    ours = partial(philox.normals, dim, key)
    found = {"torch normal_": partial(torch.randn, rows, dim, device=device), "ours, torch": partial(in_torch, ours)}
    if device.type == "cpu":
        generator = np.random.Generator(np.random.Philox(0))
        found["numpy Philox"] = lambda: generator.standard_normal((rows, dim), dtype=np.float32)
        if native.available():
            found["ours, C"] = ours
    laws = {
        "Gaussian": Gaussian(sigma=0.5),
        "generalised": GeneralizedGaussian(k=dim // 2 - 4, sigma=0.5),
        "uniform": Uniform(sigma=0.5),
        "Laplace": Laplace(sigma=0.5),
        "Pareto": Pareto(sigma=0.5, a=3),
        "exponential power": ExponentialPower(sigma=0.5, p=4),
        "exp_inf": ExpInf(sigma=0.5),
        "exp1": Exp1(sigma=0.5),
    }
    for name, law in laws.items():
        found[name] = partial(law.sample, (1, 1, dim), key)
    levels = partial(laws["Gaussian"].steps, (1, 1, dim), key)
    found["exact"] = levels
    if device.type == "cpu":
        found["exact, torch"] = partial(in_torch, levels)
    if compiled:
        function = torch.compile(partial(philox.normals, dim), dynamic=False)
        found["ours, compiled"] = partial(function, key)
    return found


def measure(dim: int, rows: int, rounds: int, device: torch.device, compiled: bool) -> dict[str, float]:
    """Nanoseconds per value of each variant: the fastest of the rounds."""
    times = in_turns(variants(dim, rows, device, compiled), rounds, device)
    return {variant: min(values) / (rows * dim) * 1e9 for variant, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default=default_device())
    parser.add_argument(
        "--compile", action="store_true", help="also measure torch.compile (half a minute for each size)"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    report = {"machine": machine(device), "ns_per_value": {}}
    start = time.perf_counter()
    for dim, rows in SHAPES.items():
        found = measure(dim, rows if device.type == "cpu" else 16 * rows, options.rounds, device, options.compile)
        report["ns_per_value"][dim] = found
        print(f"{dim} values an image: " + ", ".join(f"{variant} {value:.2f} ns" for variant, value in found.items()))
    print(f"{time.perf_counter() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
