"""The guarantees themselves: exactly, by enumeration of the binomial law, and by simulation of whole certificates.

Simulated claims are judged by the exact binomial test at false-alarm rate 1e-6 each, with fixed seeds.
"""

import numpy as np
import pandas as pd
import pytest
from claims import at_most, false_claims
from scipy import stats

from certflow.certify import predict_classes
from certflow.certify.base import Drawn
from certflow.kinds.registry import spec_class
from certflow.stats import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    failures_quantile,
    prediction_p_value,
    smallest_n_to_predict,
    true_accuracy_lower_bound,
)

pytestmark = pytest.mark.statistical
LEVEL = 1e-6
GAUSSIAN = spec_class("noise", "gaussian")(sigma=1.0)
NeymanPearson = spec_class("certificate", "neyman_pearson")


def more_than(failures: int, trials: int, rate: float) -> bool:
    """Whether so many failures prove a failure rate above `rate` at LEVEL."""
    return not at_most(failures, trials, rate, LEVEL)


@pytest.mark.parametrize("n", [50, 100, 1000])
@pytest.mark.parametrize("p", [0.5, 0.51, 0.6, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05])
def test_bounds_cover_every_probability(n, p, alpha):
    k = np.arange(n + 1)
    probability = stats.binom.pmf(k, n, p)
    assert probability[clopper_pearson_lower(k, n, alpha) > p].sum() <= alpha
    assert probability[clopper_pearson_upper(k, n, alpha) < p].sum() <= alpha


@pytest.mark.parametrize("n", [50, 1000])
def test_bounds_are_not_wider_than_they_must_be(n):
    """Where p is itself a bound L(k), the bound fails with probability exactly alpha: nothing is given away."""
    for k in (n // 2, n * 9 // 10, n - 1):
        p = clopper_pearson_lower(k, n, 0.01)
        assert stats.binom.sf(k - 1, n, p) == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("n, alpha", [(100, 0.001), (200, 0.05)])
def test_prediction_is_wrong_at_most_alpha_for_two_and_three_classes(n, alpha):
    """Any answer is too much at a tie of two classes (enumerated); three nearly tied classes are simulated."""
    k = np.arange(n + 1)
    answered = prediction_p_value(k, n - k) <= alpha
    assert stats.binom.pmf(k, n, 0.5)[answered].sum() <= alpha
    counts = np.random.default_rng(1).multinomial(n, [0.34, 0.335, 0.325], size=200_000)
    classes, _ = predict_classes(counts, alpha)
    assert at_most(int((classes > 0).sum()), len(counts), alpha, LEVEL)
    assert n >= smallest_n_to_predict(alpha)


def simulated(form: str, p: list[float], n: int, n0: int, images: int, alpha: float, *, fresh: bool) -> pd.DataFrame:
    """Certificates of `images` equal images with class probabilities p; with `fresh` off, stage 1 is counted again."""
    generator = np.random.default_rng(20190610)
    first = generator.multinomial(n0, p, size=images)
    selected = first.argmax(axis=1)
    counts = generator.multinomial(n, p, size=images) if fresh else first
    k0 = first[np.arange(images), selected]
    plan = pd.DataFrame(
        {"idx": np.arange(images), "label": 0, "selected": selected, "k0": k0, "n0": n0, "n": counts.sum(axis=1)}
    )
    table = NeymanPearson(sampler="s", alpha=alpha, bound_form=form).certify(Drawn(plan, counts, GAUSSIAN))
    return table.assign(selected=selected)


def failures_of(table: pd.DataFrame, p: list[float]) -> int:
    """How many of the certificates are false."""
    return int(false_claims(table, np.tile(p, (len(table), 1))).sum())


@pytest.mark.parametrize(
    "form, p",
    [
        ("one", [0.5, 0.5]),
        ("one", [0.52, 0.48]),
        ("one", [0.6, 0.4]),
        ("one", [0.95, 0.05]),
        ("one", [0.995, 0.005]),
        ("one", [0.4, 0.35, 0.25]),
        ("two", [0.34, 0.33, 0.33]),
        ("two", [1 / 3, 1 / 3, 1 / 3]),
        ("two", [0.45, 0.35, 0.2]),
        ("two", [0.9, 0.07, 0.03]),
    ],
)
def test_certificates_fail_with_probability_at_most_alpha(form, p):
    images, alpha = 200_000, 0.01
    table = simulated(form, p, n=1000, n0=50, images=images, alpha=alpha, fresh=True)
    assert at_most(failures_of(table, p), images, alpha, LEVEL)


def test_one_bound_uses_its_level_up():
    """At p = 0.6 the discrete bound fails with probability P(L(k) > p): the simulation must find just that, both ways."""
    p, n, images, alpha = [0.6, 0.4], 1000, 400_000, 0.01
    table = simulated("one", p, n=n, n0=200, images=images, alpha=alpha, fresh=True)
    k = np.arange(n + 1)
    exact = stats.binom.pmf(k, n, 0.6)[clopper_pearson_lower(k, n, alpha * (1 - 1e-9)) > 0.6].sum()
    failures = failures_of(table[table.selected == 0], p)
    assert 0.008 < exact <= alpha
    assert at_most(failures, images, exact, LEVEL)
    assert stats.binom.cdf(failures, images, exact) >= LEVEL


def test_counting_the_selection_draws_again_breaks_the_guarantee():
    """Why stage 2 is fresh: at a tie, choosing the winner among the very draws that are counted doubles the error."""
    images, alpha = 1_000_000, 0.001
    reused = simulated("one", [0.5, 0.5], n=1000, n0=1000, images=images, alpha=alpha, fresh=False)
    assert more_than(failures_of(reused, [0.5, 0.5]), images, alpha)
    fresh = simulated("one", [0.5, 0.5], n=1000, n0=1000, images=images, alpha=alpha, fresh=True)
    assert at_most(failures_of(fresh, [0.5, 0.5]), images, alpha, LEVEL)


def test_true_accuracy_is_above_its_bound():
    """2e5 tables of 500 images, each with as many false certificates as alpha allows."""
    tables, images, alpha, rho = 200_000, 500, 0.01, 0.001
    wrong = np.random.default_rng(5).binomial(images, alpha, size=tables)
    truly = 300
    bounds = true_accuracy_lower_bound(np.minimum(truly + wrong, images), images, alpha, rho)
    misses = int((bounds > truly / images).sum())
    assert at_most(misses, tables, rho, LEVEL)
    assert misses == (wrong > failures_quantile(images, alpha, rho)).sum() > 0
