"""The laws of generalised Gaussian and truncated noise, tested exactly: each test rejects a right law with probability 1e-6."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from certflow.noise import GeneralizedGaussian, Stream
from certflow.noise.base import Key
from certflow.noise.truncated import Truncated

LEVEL = 1e-6
ROWS = 20_000
SHAPE = (1, 8, 8)
D = 64
SEED = 20_220_717


def draws(law, stream=Stream.ESTIMATION, shape=SHAPE, rows=ROWS, **options) -> np.ndarray:
    """float64 [rows, d]."""
    image = torch.arange(rows) % 5
    return (
        law.sample(shape, Key(image, torch.arange(rows), seed=SEED, stream=stream, **options))
        .flatten(1)
        .double()
        .numpy()
    )


def radial(values: np.ndarray, k: int, sigma: float) -> np.ndarray:
    """t = ‖ε‖²/(2s²)."""
    d = values.shape[1]
    return (values**2).sum(axis=1) / (2 * sigma**2 * d / (d - 2 * k))


@pytest.mark.parametrize("k", [0, 10, 28, 31])
def test_squared_norms_follow_the_gamma_law(k):
    t = radial(draws(GeneralizedGaussian(k=k, sigma=0.5)), k, 0.5)
    assert stats.kstest(t, stats.gamma(D // 2 - k).cdf).pvalue > LEVEL


@pytest.mark.parametrize(("shape", "k"), [((1, 28, 28), 380), ((3, 32, 32), 1530), ((3, 96, 96), 13_820)])
def test_squared_norms_at_the_sizes_of_the_papers(shape, k):
    d, rows = math.prod(shape), 2000 if math.prod(shape) < 10_000 else 200
    t = radial(draws(GeneralizedGaussian(k=k, sigma=1.0), shape=shape, rows=rows), k, 1.0)
    assert stats.kstest(t, stats.gamma(d // 2 - k).cdf).pvalue > LEVEL


@pytest.mark.parametrize("k", [0, 28])
def test_the_mean_square_of_a_coordinate_is_sigma_squared(k):
    values = draws(GeneralizedGaussian(k=k, sigma=0.25))
    squares = (values**2).sum(axis=1) / (D * 0.25**2)  # = t/a, variance 1/a; the mean of ROWS of them is Gamma(a·ROWS)
    a = D // 2 - k
    total = stats.gamma(a * ROWS)
    assert LEVEL / 2 < total.cdf(squares.sum() * a) < 1 - LEVEL / 2


@pytest.mark.parametrize("k", [0, 28])
def test_directions_are_uniform(k):
    values = draws(GeneralizedGaussian(k=k, sigma=0.5))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    law = stats.beta((D - 1) / 2, (D - 1) / 2).cdf
    flat = np.ones(D) / math.sqrt(D)
    step = np.where(np.arange(D) < D // 2, 1, -1) / math.sqrt(D)
    for axis in (np.eye(D)[0], np.eye(D)[D - 1], flat, step):
        assert stats.kstest((1 + unit @ axis) / 2, law).pvalue > LEVEL / 4


def test_length_and_direction_are_independent():
    values = draws(GeneralizedGaussian(k=28, sigma=0.5))
    t = radial(values, 28, 0.5)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    for statistic in (unit[:, 0], unit[:, 63], np.abs(unit).max(axis=1), unit[:, :32].sum(axis=1)):
        assert stats.spearmanr(t, statistic).pvalue > LEVEL / 4


def test_lengths_of_neighbouring_draws_and_of_streams_are_independent():
    law = GeneralizedGaussian(k=28, sigma=0.5)
    t = radial(draws(law), 28, 0.5)
    other = radial(draws(law, Stream.SECOND_DISTRIBUTION), 28, 0.5)
    assert stats.spearmanr(t[:-1], t[1:]).pvalue > LEVEL / 3
    assert stats.spearmanr(t[:-5], t[5:]).pvalue > LEVEL / 3  # the next draw of the same image
    assert stats.spearmanr(t, other).pvalue > LEVEL / 3


def test_without_exponent_it_is_the_gaussian():
    values = draws(GeneralizedGaussian(k=0, sigma=0.5)) / 0.5
    for column in (0, 17, 63):
        assert stats.kstest(values[:, column], "norm").pvalue > LEVEL / 4
    # A sum over coordinates is standard normal only if they are uncorrelated.
    assert stats.kstest(values @ (np.ones(D) / math.sqrt(D)), "norm").pvalue > LEVEL / 4


@pytest.mark.parametrize("percentile", [0.05, 0.35, 0.98])
def test_truncated_norms_follow_the_truncated_gamma_law(percentile):
    parameter = torch.full((ROWS,), percentile, dtype=torch.float64)
    t = radial(draws(Truncated(k=28, sigma=0.5), parameter=parameter), 28, 0.5)
    assert stats.kstest(stats.gamma(4).cdf(t) / percentile, "uniform").pvalue > LEVEL


def test_truncated_noise_is_the_law_where_it_is_small():
    """Draws of the untruncated law that fall into the ball have the truncated law: two-sample test of the norms."""
    percentile = 0.5
    t = radial(draws(GeneralizedGaussian(k=28, sigma=0.5)), 28, 0.5)
    inside = t[stats.gamma(4).cdf(t) <= percentile]
    assert stats.binomtest(len(inside), ROWS, percentile).pvalue > LEVEL / 2
    parameter = torch.full((ROWS,), percentile, dtype=torch.float64)
    other = draws(Truncated(k=28, sigma=0.5), Stream.SECOND_DISTRIBUTION, parameter=parameter)
    assert stats.ks_2samp(inside, radial(other, 28, 0.5)).pvalue > LEVEL / 2


def test_the_tests_would_notice_a_wrong_law():
    """The same tests reject k off by one, and a direction that is not uniform."""
    values = draws(GeneralizedGaussian(k=28, sigma=0.5))
    assert stats.kstest(radial(values, 27, 0.5), stats.gamma(5).cdf).pvalue < LEVEL
    squashed = np.tanh(values)
    unit = squashed / np.linalg.norm(squashed, axis=1, keepdims=True)
    assert stats.spearmanr(np.linalg.norm(values, axis=1), np.abs(unit).max(axis=1)).pvalue < LEVEL
