"""What a table of certified accuracy costs: `python benchmarks/table_cost.py [--images 16] [--model FILE --manifest FILE]`.

The same network, the same images, in one run: the field's loop at N = 100,000 draws per image with Cohen's certificate, and the
sampler `decide` on our engine, which stops an image when its radius among the table's columns is settled. Printed: seconds of
both, their ratio, and both certified accuracies with their largest difference. By default the embedded digits, on a network
trained on the spot; any model file of the pipeline on its dataset otherwise. Where the field's loop would take too long,
`--field-images` runs it on the first few and multiplies; the accuracy at N = 100,000 then comes from our own fixed sampler.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import default_device, machine
from benchmarks.sampling import field_counts
from certflow.certify.radii import gaussian_radius
from certflow.data.base import Split
from certflow.data.store import open_split, prepare
from certflow.kinds.registry import revive, spec_class
from certflow.machine.memory import keep_freed_memory, restore_default
from certflow.models import build
from certflow.models.checkpoint import read_model
from certflow.noise import Gaussian, Stream
from certflow.report.metrics import certified_accuracy
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.sequential import count_until
from certflow.training.loop import train

RADII = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
ALPHA = 0.001
N_MAX, BETA = 200_000, 0.05  # chosen to lose no more accuracy than the goal allows, see docs/performance.md


def digits(sigma: float) -> tuple[torch.nn.Module, Split, tuple]:
    """A small network trained for some seconds, the test split, and (shape, classes)."""
    dataset, info = spec_class("dataset", "digits")(), spec_class("dataset", "digits")().info()
    method = spec_class("method", "gaussian")(epochs=20, batch=64, lr=0.05, schedule="one_cycle", nesterov=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(dataset, Path(folder) / "digits.json")
        splits = {name: open_split(dataset, Path(folder) / "digits.json", name) for name in ("train", "test")}
    torch.manual_seed(0)
    network = build(spec_class("model", "small_conv")(), info)
    train(method, network, splits["train"], splits["test"], noise=Gaussian(sigma=sigma), seed=0, quiet=True)
    return network, splits["test"], (info.shape, info.classes)


def stored(model: Path, manifest: Path) -> tuple[torch.nn.Module, Split, tuple]:
    """A trained model of the pipeline, the test split it belongs to, and (shape, classes)."""
    record = read_model(model)[1]
    dataset = revive("dataset", record.spec["dataset"])
    info = dataset.info()
    network = build(revive("model", {"inference": {}, **record.spec["model"]}), info)
    network.load_state_dict(read_model(model)[0])
    return network.eval(), open_split(dataset, manifest, "test"), (info.shape, info.classes)


def selected_classes(base, images, index, noise) -> np.ndarray:
    """int64 [images]: the class that 100 draws choose."""
    draws = np.full(len(index), 100)
    found = count_classes(base, images, index, draws, noise=noise, seed=0, stream=Stream.SELECTION, quiet=True)
    return found.counts.argmax(axis=1)


def ours(base, images, index, noise) -> tuple[np.ndarray, np.ndarray, float]:
    """(class or -1, radius) of each image by `decide`, and mean draws."""
    selected = selected_classes(base, images, index, noise)
    sampler = spec_class("sampler", "decide")(radii=RADII, alpha=ALPHA, n_max=N_MAX, beta=BETA)
    plan = {"n": np.full(len(index), sampler.n_max), "selected": selected}
    (measurement,) = sampler.measurements(plan, noise)
    found = count_until(
        base, images, index, selected, measurement.rule, noise=noise, seed=0, stream=Stream.ESTIMATION, quiet=True
    )
    held = found.decided >= 0
    return np.where(held, selected, -1), found.decided.clip(min=0.0), float(found.drawn.mean()) + 100


def fixed(base, images, index, noise, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(class or -1, radius) of each image by Cohen's certificate at n draws on our engine."""
    selected = selected_classes(base, images, index, noise)
    found = count_classes(
        base, images, index, np.full(len(index), n), noise=noise, seed=0, stream=Stream.ESTIMATION, quiet=True
    )
    return _certified(found.counts, selected, n, noise.sigma)


def field(network, images, classes: int, n: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """(class or -1, radius) of each image by the field's loop: one image at a time, 100 draws, then n."""
    selected, counts = [], []
    for image in images:
        clean = torch.from_numpy(np.array(image)).float() / 255
        selected.append(int(field_counts(network, clean, 100, 400, classes, sigma).argmax()))
        counts.append(field_counts(network, clean, n, 400, classes, sigma))
    return _certified(np.array(counts), np.array(selected), n, sigma)


def _certified(counts, selected, n, sigma) -> tuple[np.ndarray, np.ndarray]:
    k = np.take_along_axis(counts, selected[:, None], axis=1)[:, 0]
    radius, p_lower = gaussian_radius(k, n, ALPHA, sigma)
    return np.where(p_lower > 0.5, selected, -1), np.asarray(radius)


def accuracies(predict: np.ndarray, radius: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Certified accuracy at RADII."""
    return certified_accuracy(predict == labels, radius, RADII)


def timed(call) -> tuple[object, float]:
    """What `call` returns, and the CPU seconds it took (on a GPU: seconds)."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    result = call()
    return result, clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="test images, evenly spread")
    parser.add_argument("--field-images", type=int, help="of them, how many the field's loop gets (default: all)")
    parser.add_argument("--draws", type=int, default=100_000, help="N of the field's loop")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--model", type=Path, help="a model.safetensors of the pipeline, trained at this sigma")
    parser.add_argument("--manifest", type=Path, help="results/data/<dataset>.json")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    network, split, (shape, classes) = (
        stored(options.model, options.manifest) if options.model else digits(options.sigma)
    )
    index = np.linspace(0, len(split) - 1, options.images).round().astype(np.int64)
    images, labels, noise = split.read(index), split.labels[index].astype(np.int64), Gaussian(sigma=options.sigma)
    keep_freed_memory()
    base = BaseClassifier(network, shape=shape, classes=classes, device=device)
    selected_classes(base, images, index, noise)  # first call: kernels are chosen, memory is taken
    (predict, radius, draws), seconds = timed(lambda: ours(base, images, index, noise))
    few = min(options.field_images or options.images, options.images)
    restore_default()
    with torch.no_grad():
        found, field_seconds = timed(
            lambda: field(network.to(device).eval(), images[:few], classes, options.draws, options.sigma)
        )
    keep_freed_memory()
    theirs = found if few == options.images else fixed(base, images, index, noise, options.draws)
    field_seconds *= options.images / few
    mine, reference = accuracies(predict, radius, labels), accuracies(*theirs, labels)
    report = {
        "machine": machine(device),
        "images": options.images,
        "field_images": few,
        "sigma": options.sigma,
        "draws": options.draws,
        "mean_draws": draws,
        "seconds": seconds,
        "field_seconds": field_seconds,
        "ratio": field_seconds / seconds,
        "radii": RADII,
        "accuracy": mine.tolist(),
        "field_accuracy": reference.tolist(),
        "lost": float((reference - mine).max()),
    }
    print(f"{options.images} images, sigma {options.sigma:g}: {report['ratio']:.0f} times less time, ", end="")
    print(f"at most {report['lost']:.3f} of accuracy lost")
    print(f"  field's loop, N = {options.draws}: {field_seconds:.1f} s", end="")
    print("" if few == options.images else f" (from {few} images; accuracy from our engine's draws)")
    print(f"  decide on our engine:  {seconds:.2f} s, {draws:.0f} draws an image")
    print("  radius   " + " ".join(f"{r:6.2f}" for r in RADII))
    print("  field    " + " ".join(f"{a:6.3f}" for a in reference))
    print("  decide   " + " ".join(f"{a:6.3f}" for a in mine))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
