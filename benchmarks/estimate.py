"""How good the preview of a table is: `python benchmarks/estimate.py [--golden FILE --repeats N --images 500 5000]`.

Populations of images are drawn from the probabilities that published tables leave possible (see `benchmarks/decide.py`;
`--table` takes one table of the field and the sigma of its noise; without a file from a stated law), piloted, and estimated.
Printed for each radius: how often the 95 % interval holds the certified accuracy of the law that the images came from (with so
many repeats, 95 % is known to +-4.4 / sqrt(repeats / 100) points), and the root mean square distance to the same images' own
table at N = 100,000.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.climbing import climbed
from benchmarks.decide import ALPHA, COHEN, RADII, cohen, population, published, rule_of
from certflow.certify.field_table import read_field_table
from certflow.noise import Gaussian
from certflow.report.metrics import Z95
from certflow.sampling.kinds.pilot import Pilot
from certflow.stats.deconvolution import law_of, observed
from certflow.stats.estimate import accuracy_under, radius_under

MULTIPLES = np.linspace(0.0, 2.5, 11)
"""Radii over sigma."""
FARTHEST = 4.0
"""Beyond what N draws can prove, over sigma."""


def study(labels: np.ndarray, images: int, repeats: int) -> None:
    """One law (its images' probabilities of the label), one number of images. The last column is the average certified radius
    over sigma."""
    limits, sampler, points = (
        special.ndtr(-MULTIPLES),
        Pilot(),
        np.linspace(0.0, FARTHEST, 161),
    )
    chances = special.ndtr(-points)
    expected = np.trapezoid(cohen(labels, chances), points, axis=1)
    power = np.column_stack([cohen(labels, limits), expected])
    truth, covered, apart, spent, width, start = power.mean(axis=0), [], [], [], [], time.process_time()
    for repeat in range(repeats):
        generator = np.random.default_rng([11, images, repeat])
        chosen = generator.integers(len(labels), size=images)
        rule = rule_of(sampler, labels[chosen], Gaussian(sigma=1.0), generator)
        found = climbed(rule, labels[chosen], generator)
        k, n = found.k, found.drawn
        law = law_of(observed(k, n))
        both = accuracy_under(law, limits, COHEN, ALPHA), radius_under(law, points, chances, COHEN, ALPHA)
        value, low, high = (np.hstack([getattr(one, end) for one in both]) for end in ("value", "low", "high"))
        covered.append((low <= truth) & (truth <= high))
        apart.append(value - power[chosen].mean(axis=0))
        spent.append(n.mean())
        width.append((high - low)[:-1])
    taken = (time.process_time() - start) / repeats
    usual = 2 * Z95 * np.sqrt(truth[:-1] * (1 - truth[:-1]) / images)
    rms = np.sqrt(np.mean(np.square(apart), axis=0))
    print(f"  {images:,} images, {np.mean(spent):.0f} draws each, {taken:.2f} s an estimate")
    for name, values, form in (
        ("interval holds it (%)", 100 * np.mean(covered, axis=0), "8.1f"),
        ("rms to the same images' table", rms, "8.4f"),
        ("width over that of the whole table", np.mean(width, axis=0) / usual, "8.2f"),
    ):
        print(f"    {name:36}" + "".join(format(value, form) for value in values))
    print(f"    {'rms over all radii':36}{np.sqrt(np.mean(np.square(rms[:-1]))):8.4f}", flush=True)


def tables(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """The tables whose probabilities images are drawn from, by name; an empty one stands for the stated law."""
    if options.table:
        table = read_field_table(options.table)
        return {options.table.name: table.assign(sigma=options.sigma, alpha_inferred=ALPHA)}
    if not options.golden:
        return {"stated law": pd.DataFrame()}
    rows = published(options.golden)
    named = {source: rows[rows["source"] == source] for source in RADII if options.only in source}
    return {source: table for source, table in named.items() if len(table)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path)
    parser.add_argument(
        "--table", type=Path, help="a certificate table in the field's format, N = 100,000, alpha = 0.001"
    )
    parser.add_argument("--sigma", type=float, default=0.5, help="of the table's noise")
    parser.add_argument("--only", default="", help="part of a table's name")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--images", type=int, nargs="+", default=[500])
    options = parser.parse_args()
    for name, table in tables(options).items():
        generator = np.random.default_rng(5)
        labels = np.concatenate([population(table, generator)[1] for _ in range(40)])
        print(f"{name}, radii / sigma {' '.join(f'{one:g}' for one in MULTIPLES)}, and ACR / sigma")
        for images in options.images:
            study(labels, images, options.repeats)


if __name__ == "__main__":
    main()
