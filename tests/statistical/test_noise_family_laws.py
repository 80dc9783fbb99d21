"""The laws of the noise families, tested exactly: each test rejects a right law with probability 1e-6."""

import numpy as np
import pytest
import torch
from scipy import stats

from certflow.noise import (
    Exp1,
    Exp2,
    ExpInf,
    ExponentialPower,
    Laplace,
    Pareto,
    Pow2,
    PowInf,
    Uniform,
    UniformBall,
)
from certflow.noise.base import Key

LEVEL, ROWS, D = 1e-6, 20_000, 6
MARGINALS = [  # law, the law of one coordinate of z
    (Uniform(sigma=0.5), stats.uniform(-1, 2)),
    (Laplace(sigma=0.5), stats.laplace()),
    (ExponentialPower(sigma=0.5, p=0.5), stats.gennorm(0.5)),
    (ExponentialPower(sigma=0.5, p=4), stats.gennorm(4)),
    (ExponentialPower(sigma=0.5, p=8), stats.gennorm(8)),
]
LENGTHS = [  # law, order of the norm, function of ‖z‖, its law
    (UniformBall(sigma=0.5), 2, lambda r: r**D, stats.uniform()),
    (ExpInf(sigma=0.5, k=10), np.inf, lambda r: r**10, stats.gamma(D / 10)),
    (ExpInf(sigma=0.5, k=1, j=3), np.inf, lambda r: r, stats.gamma(D - 3)),
    (PowInf(sigma=0.5, a=10), np.inf, lambda r: r, stats.betaprime(D, 10 - D)),
    (Exp1(sigma=0.5, k=2), 1, lambda r: r**2, stats.gamma(D / 2)),
    (Exp2(sigma=0.5, k=0.5, j=2), 2, lambda r: r**0.5, stats.gamma((D - 2) / 0.5)),
    (Exp2(sigma=0.5, k=4), 2, lambda r: r**4, stats.gamma(D / 4)),
    (Pow2(sigma=0.5, k=2, a=8), 2, lambda r: r**2, stats.betaprime(D / 2, 8 - D / 2)),
]


def unit(law) -> np.ndarray:
    """float64 [ROWS, D]: draws of z."""
    number = torch.arange(ROWS)
    values = law.sample((1, 2, 3), Key(number % 5, number, seed=20_200_218, stream=1))
    return values.flatten(1).double().numpy() / law.scale(D)


@pytest.mark.parametrize(("law", "wanted"), MARGINALS, ids=lambda value: getattr(value, "kind", ""))
def test_coordinates_have_their_law(law, wanted):
    z = unit(law)
    for column in (0, D - 1):
        assert stats.kstest(z[:, column], wanted.cdf).pvalue > LEVEL
    assert stats.spearmanr(np.abs(z[:, 0]), np.abs(z[:, 1])).pvalue > LEVEL


def test_pareto_coordinates_have_a_power_law_on_both_sides():
    z = unit(Pareto(sigma=0.5, a=3))[:, 0]
    assert stats.kstest(np.abs(z), stats.lomax(3).cdf).pvalue > LEVEL
    assert stats.binomtest(int((z > 0).sum()), ROWS).pvalue > LEVEL
    assert stats.ks_2samp(z[z > 0], -z[z < 0]).pvalue > LEVEL


@pytest.mark.parametrize(("law", "order", "function", "wanted"), LENGTHS, ids=lambda value: getattr(value, "kind", ""))
def test_lengths_have_their_law_and_directions_the_cone_measure(law, order, function, wanted):
    z = unit(law)
    length = np.linalg.norm(z, ord=order, axis=1)
    assert stats.kstest(function(length), wanted.cdf).pvalue > LEVEL
    u = z / length[:, None]
    if order == 1:
        assert stats.kstest(np.abs(u[:, 2]), stats.beta(1, D - 1).cdf).pvalue > LEVEL
    elif order == 2:
        assert stats.kstest((1 + u[:, 2]) / 2, stats.beta((D - 1) / 2, (D - 1) / 2).cdf).pvalue > LEVEL
    else:
        face = np.abs(u).argmax(axis=1) * 2 + (u[np.arange(ROWS), np.abs(u).argmax(axis=1)] > 0)
        assert stats.chisquare(np.bincount(face, minlength=2 * D)).pvalue > LEVEL
        assert stats.kstest(u[face // 2 != 2][:, 2], stats.uniform(-1, 2).cdf).pvalue > LEVEL
    for statistic in (u[:, 0], np.abs(u).max(axis=1) if order != np.inf else np.abs(u).sum(axis=1)):
        assert stats.spearmanr(length, statistic).pvalue > LEVEL


def test_a_wrong_law_would_be_noticed():
    z = unit(ExponentialPower(sigma=0.5, p=4))[:, 0]
    assert stats.kstest(z, stats.gennorm(2).cdf).pvalue < LEVEL
