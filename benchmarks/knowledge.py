"""What knowledge continuity costs: `python benchmarks/knowledge.py [--points N --dim D] [--parts volatility,deltas,…]`.

volatility   one layer of N points in D coordinates, one loss and three losses together, and 25 distances against one.
score        the ball score in closed form against the published loop over 1000 radii.
bootstrap    1000 resamples by products of matrices against drawing the rows and columns of each.
training     a step of LeNet with the penalty against one without, and what is kept of the layers.

One thread; targets stand beside what is measured.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import MNIST, network
from certflow import knowledge
from certflow.knowledge import bounds, kernel
from certflow.knowledge.pairs import points
from certflow.models.hidden import captured, known_layers
from certflow.noise.kinds.none import NoNoise
from certflow.training.batch import Batch
from certflow.training.kinds.knowledge import Knowledge

BATCH = 128
PARTS = ("volatility", "deltas", "score", "bootstrap", "training")


def seconds(work, repeats: int = 3) -> float:
    """The least of several wall times, which other processes disturb least."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def say(what: str, value: str, target: str) -> None:
    print(f"{what:<62} {value:>14}   {target}", flush=True)


def sample(n: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Representations, cross-entropy, probability missed, and errors of one point in twenty."""
    rng = np.random.default_rng(0)
    ce = rng.gamma(0.3, size=n)
    return rng.normal(size=(n, dim)), ce, 1 - np.exp(-ce), (rng.random(n) < 0.05).astype(float)


def volatility(n: int, dim: int) -> None:
    z, ce, prob, wrong = sample(n, dim)
    one = seconds(lambda: knowledge.volatility(z, ce, "l2", 0.01), 2)
    three = seconds(lambda: knowledge.volatilities(z, {"ce": ce, "prob": prob, "zero_one": wrong}, "l2", 0.01), 2)
    say(f"volatility, {n} points, {dim} coordinates", f"{one:.2f} s", "at most 5 s at 10,000 and 512")
    say("three losses in one pass, over one", f"{three / one:.2f} x", "at most 1.3 x")


def deltas(n: int, dim: int) -> None:
    z, _, _, wrong = sample(n, dim)
    drawn, grid = points(z, wrong), np.linspace(0.5, 1.5, 25) * np.sqrt(2 * dim)
    one = seconds(lambda: kernel.moments(drawn, grid[12:13]))
    say(f"truncated kernel of 0-1 loss, {n} points, one distance", f"{one:.2f} s", "")
    say(
        "25 distances in one pass, over one",
        f"{seconds(lambda: kernel.moments(drawn, grid)) / one:.2f} x",
        "at most 1.3 x",
    )


def score(n: int = 1000, dim: int = 64) -> None:
    z, _, prob, _ = sample(n, dim)

    def loop() -> float:
        d = np.linalg.norm(z[:, None] - z, axis=2)
        d /= d.max()
        return 1000 * np.mean(
            [((np.abs(prob[:, None] - prob) / (1 + d)) * (d < r)).mean() for r in np.linspace(0, 1, 1000)]
        )

    theirs, ours = seconds(loop, 1), seconds(lambda: knowledge.discontinuity(z, prob))
    say(f"ball score, {n} points, over 1000 radii in a loop", f"{theirs / ours:.0f} x faster", "at least 100 x")


def bootstrap(n: int = 1000, resamples: int = 1000) -> None:
    z, ce, _, _ = sample(n, 16)
    whole = np.abs(ce[:, None] - ce) / (np.linalg.norm(z[:, None] - z, axis=2) + 0.01)
    mask = 1.0 - np.eye(n)
    few = 20

    def resampled() -> None:
        for row in np.random.default_rng(0).integers(0, n, (few, n)):
            whole[np.ix_(row, row)].sum() / mask[np.ix_(row, row)].sum()

    theirs = seconds(resampled, 1) * resamples / few
    ours = seconds(lambda: bounds.resampled_means(whole, mask, resamples, 0))
    say(f"{resamples} resamples of {n} points, over indexing", f"{theirs / ours:.0f} x faster", "at least 50 x")


def training() -> None:
    model = network({"kind": "lenet"}, MNIST)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(BATCH, 1, 28, 28, generator=generator), torch.randint(0, 10, (BATCH,), generator=generator)
    noise = NoNoise()
    batch = Batch(model, x, y, torch.arange(BATCH), noise, seed=0, epoch=3, epochs=4)
    plain, penalised = (Knowledge(epochs=4, lbd=lbd) for lbd in (0.0, 10.0))
    known_layers(model, x[:1], "stages")
    base = seconds(lambda: plain.step(batch), 15)
    say(
        f"LeNet's step with the penalty, batch {BATCH}",
        f"+{seconds(lambda: penalised.step(batch), 15) / base - 1:.1%}",
        "at most +5 %",
    )
    names, sizes = known_layers(model, x[:1], "stages"), []
    handles = [
        model.get_submodule(name).register_forward_hook(lambda m, i, o: sizes.append(o.numel())) for name in names
    ]
    with captured(model, names[-1:]) as found:
        model(x)
    for handle in handles:
        handle.remove()
    kept = sum(values.numel() for values in found.values())
    say("numbers kept: one pooled layer, over every layer whole", f"1 / {sum(sizes) / kept:.0f}", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.parts.split(","):
        work = {"volatility": volatility, "deltas": deltas}.get(part)
        if work is not None:
            work(options.points, options.dim)
        else:
            {"score": score, "bootstrap": bootstrap, "training": training}[part]()


if __name__ == "__main__":
    main()
