"""Coverage of whole certificates, planner by planner and option by option, at one stated false-alarm rate.

`SUITE` bounds the probability that any exact test of this file fails on sound code: it is shared out evenly (Bonferroni) over
the `TESTS` comparisons. Seeds are fixed, so that a red test is red again.
"""

import numpy as np
import pandas as pd
import pytest
from claims import at_least, at_most, false_claims
from scipy import special, stats

from certflow.certify import gaussian_radius, gaussian_radius_two_bound
from certflow.certify.base import Drawn
from certflow.kinds.registry import spec_class
from certflow.stats import clopper_pearson_failure, effective_u

pytestmark = pytest.mark.statistical
GAUSSIAN = spec_class("noise", "gaussian")(sigma=1.0)
NeymanPearson = spec_class("certificate", "neyman_pearson")
ALPHA = 0.01
LIMITS = {"n_max": 3000, "alpha": ALPHA}
PLANNERS = {
    "fixed": spec_class("sampler", "fixed")(n0=100, n=1000),
    "iss": spec_class("sampler", "iss")(n0=200, tolerance=0.1, loss="absolute", granularity=50, **LIMITS),
    "iss-relative": spec_class("sampler", "iss")(n0=200, tolerance=0.2, loss="relative", granularity=50, **LIMITS),
    "planned": spec_class("sampler", "planned")(n0=200, budget=1000.0, **LIMITS),
    "planned-auto": spec_class("sampler", "planned")(n0=200, budget=1000.0, bound_form="auto", **LIMITS),
}
OPTIONS = [(bound, form) for bound in ("plain", "randomized") for form in ("one", "two", "auto")]
POPULATION = np.array(
    [
        [1 / 3, 1 / 3, 1 / 3],
        [0.5, 0.5, 0.0],
        [0.45, 0.35, 0.2],
        [0.6, 0.4, 0.0],
        [0.8, 0.1, 0.1],
        [0.95, 0.05, 0.0],
        [0.995, 0.004, 0.001],
        [0.9995, 0.0005, 0.0],
    ]
)
IMAGES = 3000
SUITE = 1e-4
TESTS = len(PLANNERS) * len(OPTIONS) * (len(POPULATION) + 1) + 6
LEVEL = SUITE / TESTS


def certified(planner, options: dict, probabilities: np.ndarray, seed: int) -> pd.DataFrame:
    """Both stages, the plan and the certificates of one image per row of `probabilities`, as the pipeline makes them."""
    generator = np.random.default_rng([20240229, seed])
    first = generator.multinomial(planner.n0, probabilities)
    columns = planner.plan(first, GAUSSIAN)
    counts = generator.multinomial(columns["n"], probabilities)
    others = np.sort(np.where(np.arange(first.shape[1]) == columns["selected"][:, None], -1, first), axis=1)[:, -1]
    plan = pd.DataFrame({"idx": np.arange(len(first)), "label": 0, "n0": planner.n0, "k0_other": others, **columns})
    table = NeymanPearson(sampler="s", alpha=ALPHA, **options).certify(Drawn(plan, counts, GAUSSIAN, seed=seed))
    return table.assign(selected=columns["selected"], n=columns["n"])


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("bound, form", OPTIONS)
def test_claims_fail_with_probability_at_most_alpha(name, bound, form):
    """Image by image of a mixed population, whose draws one planner shares out, and over all of them together."""
    group = np.tile(np.arange(len(POPULATION)), IMAGES)
    probabilities = POPULATION[group]
    table = certified(PLANNERS[name], {"bound": bound, "bound_form": form}, probabilities, seed=1)
    wrong = false_claims(table, probabilities)
    for number in range(len(POPULATION)):
        assert at_most(int(wrong[group == number].sum()), IMAGES, ALPHA, LEVEL), POPULATION[number]
    assert at_most(int(wrong.sum()), len(wrong), ALPHA, LEVEL)
    assert (table.predict >= 0).mean() > 0.4


def test_the_randomized_bound_uses_its_level_up_where_the_plain_one_does_not():
    images, probabilities = 20_000, np.array([0.99, 0.01])
    rates = {}
    for bound in ("plain", "randomized"):
        spread = np.tile(probabilities, (images, 1))
        wrong = false_claims(certified(PLANNERS["fixed"], {"bound": bound}, spread, seed=2), spread)
        rates[bound] = int(wrong.sum())
    assert at_most(rates["randomized"], images, ALPHA, LEVEL) and at_least(rates["randomized"], images, ALPHA, LEVEL)
    misses = np.arange(1001)
    fails = clopper_pearson_failure(1000 - misses, 1000, ALPHA * (1 - 1e-9)) < 0.01
    exact = stats.binom.pmf(misses, 1000, 0.01)[fails].sum()
    assert exact < 0.8 * ALPHA
    assert at_most(rates["plain"], images, exact, LEVEL) and at_least(rates["plain"], images, exact, LEVEL)


def reused(first: np.ndarray, probabilities: np.ndarray, columns: dict, generator) -> np.ndarray:
    """What the published program counts: the n0 draws that chose the class and n, and n - n0 more."""
    more = np.maximum(columns["n"] - first.sum(axis=1), 0)
    return first + generator.multinomial(more, probabilities)


def test_counting_the_planning_draws_again_breaks_the_guarantee():
    """Input-specific sampling as published, at a tie: the class and n depend on the draws that are counted once more."""
    generator, images = np.random.default_rng(7), 300_000
    planner = spec_class("sampler", "iss")(n0=2000, tolerance=0.01, alpha=ALPHA)
    sigma = spec_class("noise", "gaussian")(sigma=0.25)
    probabilities = np.tile([0.5, 0.5], (images, 1))
    first = generator.multinomial(planner.n0, probabilities)
    columns = planner.plan(first, sigma)
    sampled = columns["n"] >= planner.n0  # where the program does not even divide by too small a number
    failures = {}
    for name, counts in {
        "reused": reused(first, probabilities, columns, generator),
        "fresh": generator.multinomial(columns["n"], probabilities),
    }.items():
        k, n = counts[np.arange(images), columns["selected"]][sampled], counts.sum(axis=1)[sampled]
        assert (n == columns["n"][sampled]).all()
        failures[name] = int((gaussian_radius(k, n, ALPHA, 0.25)[0] > 0).sum())
    assert at_most(failures["fresh"], images, ALPHA, LEVEL)
    assert not at_most(failures["reused"], images, ALPHA, LEVEL)


def in_between(p: float, n: int, alpha: float) -> int:
    """The one count whose plain bound covers p while the next count's does not: the coin decides there, and nowhere else."""
    k = np.arange(n + 1)
    return int((clopper_pearson_failure(k, n, alpha) >= 1 - p).sum()) - 1


@pytest.mark.parametrize("n", [50, 100, 1000])
@pytest.mark.parametrize("p", [0.51, 0.6, 0.9, 0.99, 0.999])
def test_randomized_bounds_fail_with_probability_alpha(n, p):
    """Exact up to the lattice of coins: counts above the threshold always fail, those below never, that one by its coin."""
    alpha, coins = 0.001, (np.arange(2000) + 0.5) / 2000
    threshold = in_between(p, n, alpha)
    mass = stats.binom.pmf(np.arange(n + 1), n, p)
    share = (gaussian_radius(threshold, n, alpha, 1.0, coins)[0] > special.ndtri(p)).mean()
    error = mass[threshold + 1 :].sum() + share * mass[threshold]
    slack = mass[threshold] / 2000
    assert error <= alpha + slack
    if threshold < n:
        assert error >= alpha - slack - 0.02 * mass[threshold]
        wrong = gaussian_radius(np.arange(threshold + 1, n + 1), n, alpha, 1.0, effective_u(1.0, alpha))[0]
        assert (wrong > special.ndtri(p)).all()
    if threshold > 0:
        assert gaussian_radius(threshold - 1, n, alpha, 1.0, 1e-9)[0] <= special.ndtri(p)


@pytest.mark.parametrize("form", ["one", "two"])
@pytest.mark.parametrize("n", [40, 90])
@pytest.mark.parametrize(
    "p", [(0.34, 0.33, 0.33), (0.5, 0.5, 0.0), (0.45, 0.35, 0.2), (0.6, 0.2, 0.2), (0.9, 0.07, 0.03), (0.99, 0.01, 0.0)]
)
def test_plain_bounds_cover_by_enumeration(form, n, p):
    """Every outcome of three classes, for a right and for a wrong selected class."""
    a, b = (part.ravel() for part in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    counts = np.stack([a, b, n - a - b], axis=1)[a + b <= n]
    mass = stats.multinomial.pmf(counts, n, p)
    for selected in (0, 1):
        k = counts[:, selected]
        if form == "one":
            radius, _ = gaussian_radius(k, n, ALPHA, 1.0)
        else:
            radius, _, _ = gaussian_radius_two_bound(k, np.delete(counts, selected, axis=1).max(axis=1), n, ALPHA, 1.0)
        rival = max(share for c, share in enumerate(p) if c != selected)
        largest = (special.ndtri(p[selected]) - special.ndtri(rival)) / 2
        assert mass[radius > max(largest, 0.0)].sum() <= ALPHA


@pytest.mark.parametrize("p", [(0.45, 0.35, 0.2), (0.8, 0.1, 0.1)])
def test_both_randomized_bounds_together_fail_at_most_alpha_by_enumeration(p):
    """Every outcome of 30 draws of three classes with a lattice of pairs of coins."""
    n, coins = 30, (np.arange(8) + 1.0) / 8  # rounded up: the safe side, so that no slack is needed
    a, b = (part.ravel() for part in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    counts = np.stack([a, b, n - a - b], axis=1)[a + b <= n]
    mass = stats.multinomial.pmf(counts, n, p)
    u, v = (part.ravel() for part in np.meshgrid(coins, coins))
    k, other = counts[:, 0], counts[:, 1:].max(axis=1)
    radius, _, _ = gaussian_radius_two_bound(k[:, None], other[:, None], n, ALPHA, 1.0, u, v)
    largest = (special.ndtri(p[0]) - special.ndtri(p[1])) / 2
    assert 0 < (mass * (radius > largest).mean(axis=1)).sum() <= ALPHA
