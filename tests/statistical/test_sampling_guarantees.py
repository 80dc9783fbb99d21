"""The guarantees of CERTIFY and PREDICT, on draws that the engine really made, by exact tests at level 1e-6 each."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from certflow import SmoothedClassifier
from certflow.certify.radii import gaussian_radius
from certflow.noise import Gaussian, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes

pytestmark = pytest.mark.statistical

LEVEL = 1e-6
SIGMA = 0.5
SHAPE = (1, 2, 3)
IMAGES = 3000
ALPHA = 0.05


class HalfSpace(torch.nn.Module):
    """Class 1 where w·(x − 1/2) > 0, |w| = 1: at distance r on that side p_1 = Phi(r / sigma) and the true radius is r."""

    def __init__(self):
        super().__init__()
        w = torch.tensor([0.5, -0.1, 0.3, -0.6, 0.2, 0.4])
        self.w = torch.nn.Parameter(w / w.norm())

    def forward(self, x):
        margin = (x - 0.5).flatten(1) @ self.w
        return torch.stack([-margin, margin], dim=1)


def at(distance: float) -> torch.Tensor:
    """The same image, at that distance from the plane, IMAGES times: their indices make their noise independent."""
    w = HalfSpace().w.detach()
    return (0.5 + distance * w).reshape(1, *SHAPE).repeat(IMAGES, 1, 1, 1)


def smoothed() -> SmoothedClassifier:
    return SmoothedClassifier(HalfSpace(), Gaussian(sigma=SIGMA), device="cpu")


def within(successes: int, trials: int, probability: float) -> bool:
    """Whether so many successes pass the exact two-sided binomial test of that probability at LEVEL."""
    return stats.binomtest(successes, trials, probability).pvalue > LEVEL


def at_most(successes: int, trials: int, probability: float) -> bool:
    """Whether so many successes pass the exact one-sided binomial test of at most that probability at LEVEL."""
    return stats.binomtest(successes, trials, probability, alternative="greater").pvalue > LEVEL


@pytest.mark.parametrize("distance", [0.02, 0.1, 0.3, 0.55])
def test_certified_radii_are_wrong_as_rarely_as_promised(distance):
    n, n0 = 200, 10
    table = smoothed().certify(at(distance), n0=n0, n=n, alpha=ALPHA, batch_size=2048, seed=1, quiet=True)
    wrong = ((table["predict"] == 0) | (table["radius"] > distance)).sum()
    assert at_most(wrong, IMAGES, ALPHA)
    # Not only bounded: the engine's error is what the binomial law says it is for these numbers.
    p, k = special.ndtr(distance / SIGMA), np.arange(n + 1)
    too_far = gaussian_radius(k, n, ALPHA, SIGMA)[0]
    chosen = stats.binom.sf(n0 // 2, n0, p)  # a tie goes to class 0
    right, other = stats.binom.pmf(k, n, p), stats.binom.pmf(k, n, 1 - p)
    expected = chosen * right[too_far > distance].sum() + (1 - chosen) * other[too_far > 0].sum()
    assert within(wrong, IMAGES, expected)
    answered = chosen * right[too_far > 0].sum() + (1 - chosen) * other[too_far > 0].sum()
    assert within((table["predict"] != -1).sum(), IMAGES, answered)


@pytest.mark.parametrize("distance", [0.02, 0.15])
def test_predictions_are_wrong_as_rarely_as_promised(distance):
    n = 60
    table = smoothed().predict(at(distance), n=n, alpha=ALPHA, batch_size=2048, seed=2, quiet=True)
    assert at_most((table["predict"] == 0).sum(), IMAGES, ALPHA)
    p = special.ndtr(distance / SIGMA)
    least = next(k for k in range(n // 2, n + 1) if stats.binomtest(k, n, 0.5).pvalue <= ALPHA)
    for answer, probability in ((0, 1 - p), (1, p)):
        assert within((table["predict"] == answer).sum(), IMAGES, stats.binom.sf(least - 1, n, probability))


def counts(draws: int, stream: Stream, seed: int = 3, distance: float = 0.2) -> np.ndarray:
    base = BaseClassifier(HalfSpace(), shape=SHAPE, batch=2048)
    index, n = np.arange(IMAGES), np.full(IMAGES, draws)
    found = count_classes(
        base, at(distance), index, n, noise=Gaussian(sigma=SIGMA), seed=seed, stream=stream, quiet=True
    )
    return found.counts[:, 1]


def test_counts_follow_the_binomial_law():
    n, p = 100, special.ndtr(0.2 / SIGMA)
    found = counts(n, Stream.ESTIMATION)
    edges = np.unique(stats.binom.ppf(np.linspace(0, 1, 13)[1:-1], n, p))
    expected = np.diff(np.concatenate([[0], stats.binom.cdf(edges, n, p), [1]]))
    observed = np.bincount(np.searchsorted(edges, found), minlength=len(expected))
    assert stats.chisquare(observed, expected * IMAGES).pvalue > LEVEL


def test_stages_seeds_and_neighbouring_images_are_uncorrelated():
    first, second = counts(100, Stream.SELECTION), counts(100, Stream.ESTIMATION)
    other_seed = counts(100, Stream.ESTIMATION, seed=4)
    pairs = [(first, second), (second, other_seed), (second[:-1], second[1:])]
    for one, other in pairs:
        assert stats.pearsonr(one, other).pvalue > LEVEL / len(pairs)
