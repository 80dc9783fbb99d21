"""The picture of docs/sampling.md, three images on their way through one test.

Usage: `PYTHONPATH=lib python tools/draw_boundaries.py PICTURE`.
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtr

from certflow.sampling.tuning import tuned
from certflow.stats.deconvolution import GRID
from certflow.stats.optimal import growing_looks

LAST = 20_000
P0 = float(ndtr(1.0))
IMAGES = (
    (0.95, "far above: holds", "#1B7F4C"),
    (0.70, "far below: given up", "#B23A48"),
    (0.853, "near: takes long", "#3B5B92"),
)


def main() -> None:
    looks = growing_looks(50, LAST)
    density = np.exp(-((GRID - 1.2) ** 2) / 4)
    (test,) = tuned([1 - P0], looks, density / density.sum(), 0.001, 0.003)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis = figure.subplots()
    upper, lower = test.accept / looks, np.maximum(test.give_up, 0) / looks
    possible = upper <= 1
    axis.fill_between(looks[possible], upper[possible], 1.01, color="#1B7F4C", alpha=0.12, linewidth=0)
    axis.fill_between(looks[:-1], 0.55, lower[:-1], color="#B23A48", alpha=0.12, linewidth=0)
    axis.axhline(P0, color="#707070", linewidth=0.8, linestyle=":")
    axis.text(900, P0 - 0.005, "needed: p > 0.841 (radius = σ)", va="top", fontsize=8, color="#505050")
    for seed, (p, name, colour) in enumerate(IMAGES):
        hits = np.cumsum(np.random.default_rng(seed + 4).random(LAST) < p)[looks - 1]
        ended = (hits >= test.accept) | (hits <= test.give_up)
        end = int(np.argmax(ended))
        axis.plot(
            looks[: end + 1], hits[: end + 1] / looks[: end + 1], color=colour, marker="o", markersize=2.5, linewidth=1
        )
        axis.annotate(
            f"{name}\n{looks[end]:,} draws",
            (looks[end], hits[end] / looks[end]),
            (6, 0) if looks[end] < LAST / 4 else (-75, 22),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            va="center",
        )
    axis.text(1500, 0.98, "the radius holds", fontsize=9, color="#1B7F4C", va="top")
    axis.text(1500, 0.62, "given up", fontsize=9, color="#B23A48", va="bottom")
    axis.set(
        xscale="log",
        xlim=(45, LAST * 1.05),
        ylim=(0.55, 1.01),
        xlabel="draws so far",
        ylabel="share that hit the class",
    )
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.argv[1], dpi=150)


if __name__ == "__main__":
    main()
