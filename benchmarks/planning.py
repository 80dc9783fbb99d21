"""What planned draws are worth: `python benchmarks/planning.py [--table FILE --sigma S [--alpha A --draws N]]`.

Images whose class has a known probability are certified by every sampler in turn, at the same mean number of draws: Cohen's
equal draws, input-specific sampling, planned sampling, and planned sampling with up to a million draws, also with a randomised
bound. Printed: mean draws, average certified radius and certified accuracy at radius 0, over `--repeats` repetitions.

The probabilities come from a per-image table (ours, or in the field's format: `idx label predict radius correct time`): each
is drawn from what its count leaves possible, or the count its radius belongs to. Without a table, from a stated law.
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

from certflow.certify.base import Drawn
from certflow.certify.field_table import read_field_table
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.kinds.fixed import Fixed
from certflow.sampling.kinds.iss import Iss
from certflow.sampling.kinds.planned import Planned
from certflow.stats import clopper_pearson_failure

ALPHA = 0.001
PRIOR = 0.15
"""Exponent of the prior q^(PRIOR - 1) on the probability of missing the class."""
REST = (0.7, 0.2, 0.1)
"""How the remaining probability spreads over other classes."""
BUDGETS = (5_000, 10_000, 20_000, 50_000, 100_000)


def from_table(table: pd.DataFrame, sigma: float, alpha: float, draws: int, generator) -> tuple[np.ndarray, np.ndarray]:
    """(probability of the class, is it right) of each image, the former drawn from its posterior."""
    if {"k", "n"} <= set(table.columns):
        k, n = table["k"].to_numpy(np.float64), table["n"].to_numpy(np.float64)
    else:
        k, n = _counts_of(table["radius"].to_numpy(), sigma, alpha, draws, generator), float(draws)
    p = 1.0 - generator.beta(n - k + PRIOR, k + 1.0)
    right = table["correct"].to_numpy() == 1
    return np.where(table["predict"] == -1, generator.uniform(0.25, 0.5, len(table)), p), right


def _counts_of(radius: np.ndarray, sigma: float, alpha: float, draws: int, generator) -> np.ndarray:
    """Counts whose certificates have these radii, rounded as they may be."""
    k = np.arange(draws // 2, draws + 1)
    ladder = np.maximum(-special.ndtri(np.asarray(clopper_pearson_failure(k, draws, alpha))), 0.0)
    return k[np.searchsorted(ladder, radius / sigma * (1 - 1e-3), side="left").clip(0, len(k) - 1)].astype(np.float64)


def stated_law(images: int, generator) -> tuple[np.ndarray, np.ndarray]:
    """Margins z(p) normal with mean 1.4 and standard deviation 1.6; the class is right for more images, the larger they are."""
    margin = generator.normal(1.4, 1.6, images)
    return special.ndtr(margin), generator.random(images) < special.ndtr(0.4 + 0.8 * margin)


def certified(sampler, bound: dict, p: np.ndarray, right: np.ndarray, noise: Gaussian, generator) -> tuple[float, ...]:
    """Mean draws, average certified radius and certified accuracy at 0 of one repetition, both stages simulated."""
    probabilities = np.column_stack([p, *((1 - p) * share for share in REST)])
    first = generator.multinomial(sampler.n0, probabilities)
    columns = sampler.plan(first, noise)
    counts = generator.multinomial(columns["n"], probabilities)
    others = np.sort(np.where(np.arange(first.shape[1]) == columns["selected"][:, None], -1, first), axis=1)[:, -1]
    plan = pd.DataFrame({"idx": np.arange(len(p)), "label": 0, "n0": sampler.n0, "k0_other": others, **columns})
    certificate = spec_class("certificate", "neyman_pearson")(sampler="s", alpha=ALPHA, **bound)
    table = certificate.certify(Drawn(plan, counts, noise, seed=int(generator.integers(2**32))))
    good = right & (table["predict"] == 0).to_numpy()
    return sampler.n0 + columns["n"].mean(), (good * table["radius"]).mean(), good.mean()


def contenders(budget: int) -> dict[str, tuple]:
    """What is compared at one mean number of draws: sampler and settings of the certificate."""
    return {
        "equal": (Fixed(n0=100, n=budget - 100), {}),
        "planned": (Planned(budget=float(budget)), {}),
        "planned, n_max 1e6": (Planned(budget=float(budget), n_max=10**6), {}),
        "  and randomised": (Planned(budget=float(budget), n_max=10**6), {"bound": "randomized"}),
    }


def measured(sampler, bound: dict, population, noise: Gaussian, repeats: int) -> np.ndarray:
    """Means over repetitions; the same populations for every contender."""
    found = []
    for repeat in range(repeats):
        p, right = population(np.random.default_rng([1, repeat]))
        found.append(certified(sampler, bound, p, right, noise, np.random.default_rng([2, repeat])))
    return np.mean(found, axis=0)


def planning_seconds() -> None:
    from certflow.sampling.planning.utility import utility

    first = np.random.default_rng(0).multinomial(500, [0.9, 0.1], size=10_000)
    for n_max in (10**5, 10**6):
        utility.cache_clear()
        start = time.process_time()
        Planned(budget=10_000.0, n_max=n_max).plan(first, Gaussian(sigma=0.5))
        print(f"planning 10,000 images, n_max = {n_max:,}: {time.process_time() - start:.2f} CPU seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="a certificate table, ours or in the field's format")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--alpha", type=float, default=ALPHA, help="of the table's radii, where it states no counts")
    parser.add_argument("--draws", type=int, default=100_000, help="N of the table's radii, where it states no counts")
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    noise = Gaussian(sigma=options.sigma)
    if options.table:
        table = read_field_table(options.table)
        whole = pd.read_csv(options.table, sep="\t")
        table = whole if {"k", "n"} <= set(whole.columns) else table

        def population(generator):
            return from_table(table, options.sigma, options.alpha, options.draws, generator)
    else:

        def population(generator):
            return stated_law(500, generator)

    planning_seconds()
    print(f"{'':22}{'mean draws':>12}{'ACR':>9}{'at 0':>8}   sigma {options.sigma:g}, alpha {ALPHA:g}")
    for tolerance in (0.01, 0.05, 0.1):
        sampler = Iss(tolerance=tolerance)
        spent, acr, accuracy = measured(sampler, {}, population, noise, options.repeats)
        print(f"{f'iss, tolerance {tolerance:g}':22}{spent:12,.0f}{acr:9.4f}{accuracy:8.3f}")
        planned = Planned(n0=1000, budget=float(spent))
        spent, acr, accuracy = measured(planned, {}, population, noise, options.repeats)
        print(f"{'  planned, as many':22}{spent:12,.0f}{acr:9.4f}{accuracy:8.3f}")
    for budget in BUDGETS:
        for name, (sampler, bound) in contenders(budget).items():
            spent, acr, accuracy = measured(sampler, bound, population, noise, options.repeats)
            print(f"{name:22}{spent:12,.0f}{acr:9.4f}{accuracy:8.3f}")


if __name__ == "__main__":
    main()
