"""The preview of a table: how far it is from the table, and that its intervals hold what the population would give."""

import numpy as np
import pytest
from claims import at_most
from scipy.special import ndtr, ndtri

from benchmarks.climbing import climbed
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.base import PlannedImages
from certflow.stats.deconvolution import law_of, observed
from certflow.stats.estimate import Estimate, accuracy_under

REPEATS, IMAGES, FALSE_ALARM = 100, 300, 1e-6
RADII = np.array([0.0, 0.75, 1.5, 2.0, 2.5])
"""Over sigma."""
LIMITS = ndtr(-RADII)
DRAWS = 100_000


def population(images: int, seed: int) -> np.ndarray:
    """Probabilities of the label: of sure images, unsure ones, and those taken for another class."""
    random = np.random.default_rng(seed)
    z = np.where(random.random(images) < 0.6, random.normal(2.2, 0.8, images), random.normal(0.3, 0.8, images))
    wrong = random.random(images) < 0.15
    return np.where(wrong, random.uniform(0, 0.5, images), ndtr(z))


def piloted(p: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, n) of the sampler's own rule."""
    pilot = spec_class("sampler", "pilot")()
    plan = {"n": np.full(len(p), pilot.n_max), "selected": np.zeros(len(p), int)}
    found = climbed(
        pilot.measurements(PlannedImages(plan, Gaussian(sigma=0.5)))[0].rule, p, np.random.default_rng(seed)
    )
    return found.k, found.drawn


def certified(p: np.ndarray) -> np.ndarray:
    """bool [images, radii]: what 100,000 draws prove of each image, all but for a thousandth of them."""
    proven = p - 3.1 * np.sqrt(p * (1 - p) / DRAWS)  # Clopper and Pearson's bound at alpha = 0.001, for large counts
    return ndtri(np.clip(proven, 1e-9, 1 - 1e-9))[:, None] >= RADII


@pytest.fixture(scope="module")
def studied():
    """For every repeat the counts, the estimate, and the same images' own table."""
    found = []
    for repeat in range(REPEATS):
        p = population(IMAGES, repeat)
        k, n = piloted(p, REPEATS + repeat)
        found.append((k, n, accuracy_under(law_of(observed(k, n)), LIMITS, DRAWS, 0.001), certified(p).mean(axis=0)))
    return found


@pytest.fixture(scope="module")
def truth():
    return certified(population(400_000, 10**6)).mean(axis=0)


def missed(estimates: list[Estimate], truth: np.ndarray) -> np.ndarray:
    """int [radii]: how many intervals do not hold the truth."""
    return np.sum([(one.low > truth) | (truth > one.high) for one in estimates], axis=0)


def raw(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """float64 [radii]: shares of images whose share of hits lies above the threshold, without any deconvolution."""
    return ((k / n)[:, None] >= ndtr(RADII)).mean(axis=0)


def rms(values: list[np.ndarray], own: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(np.subtract(values, own)))))


@pytest.mark.statistical
def test_intervals_hold_what_the_population_gives(studied, truth):
    for failures in missed([estimate for _, _, estimate, _ in studied], truth):
        assert at_most(failures, REPEATS, 0.05, FALSE_ALARM)


@pytest.mark.statistical
def test_intervals_half_as_wide_would_not(studied, truth):
    """The test above can fail."""
    half = [Estimate(e.value, (e.value + e.low) / 2, (e.value + e.high) / 2) for _, _, e, _ in studied]
    assert not all(at_most(failures, REPEATS, 0.05, FALSE_ALARM) for failures in missed(half, truth))


@pytest.mark.statistical
def test_intervals_are_not_much_wider_than_those_of_the_whole_table(studied, truth):
    usual = 2 * 1.96 * np.sqrt(truth * (1 - truth) / IMAGES)
    assert np.mean([(e.high - e.low) / usual for _, _, e, _ in studied]) < 1.25


@pytest.mark.statistical
def test_an_estimate_is_within_a_point_of_the_table_and_shares_of_hits_are_not(studied):
    """A point at 500 images is 1.3 points at 300."""
    own = [table for _, _, _, table in studied]
    allowed = 0.01 * np.sqrt(500 / IMAGES)
    assert rms([estimate.value for _, _, estimate, _ in studied], own) < allowed
    assert rms([raw(k, n) for k, n, _, _ in studied], own) > allowed


@pytest.mark.statistical
def test_it_takes_at_most_160_draws_an_image(studied):
    assert np.mean([n.mean() for _, n, _, _ in studied]) < 160
