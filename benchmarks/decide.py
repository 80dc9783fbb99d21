"""What `decide` costs and loses: `python benchmarks/decide.py [--golden FILE ... --tolerance T --populations N --streams M]`.

Images whose class has a known probability climb the ladders of the sampler, both stages simulated, and are compared with
Cohen's test at N = 100,000 and with the fewest draws that any test could do with. Probabilities come from a file with the
columns source, sigma, radius, predict, correct, alpha_inferred (published tables, 100,000 draws per image): each is drawn from
what the count leaves possible that its radius belongs to. The label of an image that is taken for another class has a
probability drawn evenly from what is left. In a file with the columns model, p_dist, N, k_p, n_p it is the label that was
counted. Without a file, from a stated law of 500 images at sigma 0.5.

`--streams`: simulate this many streams at the smallest probability that makes a claim false, and print how often it is made.
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
from benchmarks.planning import ALPHA, from_table, stated_law
from certflow.noise import Gaussian
from certflow.sampling.base import StoppingRule
from certflow.sampling.kinds.decide import Decide
from certflow.stats.estimate import certification_power
from certflow.stats.limit import least_draws

RADII = {
    "certify/cifar10/resnet110/noise_0.50/test/sigma_0.50": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    "certify/imagenet/resnet50/noise_0.50/test/sigma_0.50": (0.5, 1.0, 1.5),
    "certify/cifar10/resnet110/noise_0.12/test/sigma_0.12": (0.06, 0.12, 0.18, 0.24, 0.3, 0.36, 0.396),
    "cohen-mnist-1.00": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
}
COHEN = 100_000
IMAGES = 500
WAYS = [f"{test}-{judge}" for test in ("optimal", "mixture") for judge in ("label", "selected")]


def published(path: Path) -> pd.DataFrame:
    """Rows of one file, with the columns source, sigma, predict, correct and radius or k and n."""
    rows = pd.read_csv(path, low_memory=False)
    if "source" in rows:
        return rows
    rows = rows[(rows["p_dist"] == "gauss") & (rows["N"] == COHEN)].drop_duplicates(["model", "image_id"])
    found = {"source": rows["model"], "sigma": rows["sigma"], "k": rows["k_p"], "n": rows["n_p"]}
    return pd.DataFrame(found).assign(predict=0, correct=1, alpha_inferred=ALPHA)


def population(table: pd.DataFrame, generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probability of the class, of the label, is the class right) of each image."""
    if len(table):
        table = table.sample(min(IMAGES, len(table)), random_state=int(generator.integers(2**31))).dropna(axis=1)
        sigma, alpha = float(table["sigma"].iloc[0]), float(table["alpha_inferred"].iloc[0])
        p, right = from_table(table, sigma, alpha, COHEN, generator)
    else:
        p, right = stated_law(500, generator)
    return p, np.where(right, p, generator.uniform(0, 1 - p)), right


def rule_of(sampler, p: np.ndarray, noise: Gaussian, generator) -> StoppingRule:
    """The sampler's own way from stage 1 to its stopping rule."""
    plan = {"n": np.full(len(p), sampler.n_max), "selected": np.zeros(len(p), int), "n0": np.full(len(p), sampler.n0)}
    plan["k0"] = generator.binomial(sampler.n0, p)
    return sampler.measurements(sampler.planned(plan, noise))[0].rule


def cohen(p: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """float64 [images, radii]: how likely Cohen's test holds each radius."""
    return certification_power(limits, COHEN, ALPHA, p)


def measured(sampler, table: pd.DataFrame, noise: Gaussian, populations: int, climbs: int) -> str:
    """Mean draws of both stages, accuracy lost at each radius, and the ratio to the least possible. Standard errors are over
    populations; of the losses the largest."""
    radii, spent, lost, bounds = np.array(sampler.radii), [], [], []
    limits, start, preparing = special.ndtr(-radii / noise.sigma), time.process_time(), 0.0
    for number in range(populations):
        generator = np.random.default_rng([7, number])
        p, label, right = population(table, generator)
        judged = label if sampler.judge == "label" else p
        start = time.process_time()
        rule = rule_of(sampler, judged, noise, generator)
        preparing += time.process_time() - start
        reference = cohen(judged, limits)
        found = climbed(rule, np.tile(judged, climbs), generator)
        held = (found.decided[:, None] >= radii).reshape(climbs, len(p), -1).mean(axis=0)
        spent.append(found.drawn.mean())
        lost.append((right[:, None] * (reference - held)).mean(axis=0))
        bounds.append(least_draws(1 - judged, np.full(len(p), 1 / len(p)), limits, held.mean(axis=0), ALPHA))
    draws, bound = np.mean(spent), np.mean(bounds)
    losses = " ".join(f"{one:+.4f}" for one in np.mean(lost, axis=0))
    spread, error = (float(np.max(np.std(found, axis=0)) / populations**0.5) for found in (spent, lost))
    return (
        f"{sampler.test:9}{sampler.judge:9}{draws + sampler.n0:9,.0f} draws (+-{spread:,.0f}), {draws:,.0f} of stage 2, least "
        f"{bound:,.0f} ({draws / bound:.2f}); lost {losses} (+-{error:.4f}); tests made in {preparing / populations:.1f} s"
    )


def false_claims(rule: StoppingRule, limit: float, streams: int) -> float:
    """Share of streams at p = 1 - limit for which the first radius is claimed."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(0, streams, 100_000):
        decided = climbed(rule, np.full(100_000, 1 - limit), generator).decided
        wrong += int((decided >= 0).sum())
    return wrong / streams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, nargs="+")
    parser.add_argument("--only", default="", help="part of a table's name")
    parser.add_argument("--tolerance", type=float, default=0.003)
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n-max", type=int, default=200_000)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="test and whose radius is judged")
    parser.add_argument("--populations", type=int, default=3)
    parser.add_argument("--climbs", type=int, default=100)
    parser.add_argument("--streams", type=int, default=0)
    options = parser.parse_args()
    tables = pd.concat([published(path) for path in options.golden]) if options.golden else pd.DataFrame({"source": []})
    for source, radii in (RADII if options.golden else {"stated law": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)}).items():
        table = tables[tables["source"] == source]
        if options.only not in source or (options.golden and table.empty):
            continue
        noise = Gaussian(sigma=float(table["sigma"].iloc[0]) if len(table) else 0.5)
        print(source)
        for way in options.ways:
            test, judge = way.split("-")
            wanted = {"n0": options.n0, "n_max": options.n_max, "tolerance": options.tolerance, "radii": list(radii)}
            sampler = Decide.model_validate({"test": test, "judge": judge, **wanted})
            print(" ", measured(sampler, table, noise, options.populations, options.climbs), flush=True)
        if options.streams:
            sampler = Decide(judge="label", radii=[radii[0]], n_max=options.n_max)
            p = population(table, np.random.default_rng(0))[1]
            rule, limit = (
                rule_of(sampler, p, noise, np.random.default_rng(1)),
                float(special.ndtr(-radii[0] / noise.sigma)),
            )
            share, spread = false_claims(rule, limit, options.streams), (ALPHA / options.streams) ** 0.5
            print(
                f"  claimed falsely in {share:.6f} +- {spread:.6f} of {options.streams:,} streams, at most {ALPHA:g} allowed"
            )


if __name__ == "__main__":
    main()
