"""Symmetric laws by a table of their quantiles: how near to the law, and where no table can be made."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special

from certflow.noise import ExponentialPower, Laplace, quantiles
from certflow.noise.base import Key
from certflow.noise.kinds.expp import unit_quantile

V = np.array(
    [2.0**-32, 2.0**-31.5, 1e-6, 0.01, 0.25, 0.4999999, 0.5, 0.50000006, 0.6, 0.9, 0.999, 1 - 2.0**-20, 1 - 2.0**-24]
)


@pytest.mark.parametrize("p", [0.02, 0.5, 1.0, 1.5, 2.0, 4.0, 100.0])
def test_values_are_the_quantiles_up_to_the_rounding_of_float32(p):
    random = np.random.default_rng(0)
    v = np.concatenate([V, random.random(20_000), 2.0 ** -random.uniform(1, 32, 20_000)]).astype(np.float32)
    found = quantiles.inverted(torch.from_numpy(v), (unit_quantile, p)).double().numpy()
    v = v.astype(np.float64)
    wanted = np.where(v > 0.5, unit_quantile(1 - v, False, p), unit_quantile(v, True, p))
    error = np.abs(found - wanted)
    assert (error <= 2e-7 * wanted + 1e-44).all()  # what float32 has no digits for is 0
    assert (np.diff(found[np.argsort(v)]) <= 2.5e-7 * found[np.argsort(v)][:-1]).all()


def test_quantiles_of_exponential_powers_agree_with_forty_digits():
    for p in (0.5, 4.0, 50.0, 100.0):
        scale = math.exp((math.lgamma(3 / p) - math.lgamma(1 / p)) / 2)
        for t, tail in ((2.0**-32, True), (0.3, True), (0.51, True), (0.5, False), (0.1, False), (2.0**-24, False)):
            z = mpmath.mpf(float(unit_quantile(np.array(t), tail, p))) * scale
            with mpmath.workdps(40):
                limits = (z**p, mpmath.inf) if tail else (0, z**p)
                mass = mpmath.gammainc(mpmath.mpf(1) / p, *limits, regularized=True)
                density = p * mpmath.exp(-(z**p)) / mpmath.gamma(mpmath.mpf(1) / p)
                assert abs((mass - t) / (density * z)) < 1e-10


def test_signs_are_kept_and_sizes_do_not_depend_on_them():
    v = torch.tensor([2.0**-32, 0.3, 0.5, 0.7, 1 - 2.0**-24])
    law = (unit_quantile, 4.0)
    assert torch.equal(quantiles.inverted(-v, law), -quantiles.inverted(v, law))
    assert quantiles.inverted(v.view(5, 1), law).shape == (5, 1)


def test_a_law_under_two_names_is_drawn_alike():
    key = Key(torch.zeros(4, dtype=torch.int64), torch.arange(4), seed=1, stream=1)
    laplace, power = (law.sample((3, 5, 7), key) for law in (Laplace(sigma=0.5), ExponentialPower(sigma=0.5, p=1)))
    torch.testing.assert_close(power, laplace, rtol=1e-5, atol=1e-6)


def test_small_powers_are_drawn_although_their_units_are_beyond_float32():
    law = ExponentialPower(sigma=0.5, p=0.03)
    found = law.sample((1, 50, 50), Key(torch.tensor([0]), torch.tensor([0]), seed=1, stream=1)).abs().flatten()
    assert law.unit_sigma(1) > 1e60 and bool(found.isfinite().all())
    below = special.gammaincinv(1 / 0.03, 0.5) ** (1 / 0.03) * law.scale(1)
    assert (found.double() < below).double().mean() == pytest.approx(0.5, abs=0.05)


def test_what_varies_too_fast_is_refused():
    with pytest.raises(ValueError, match="vary too fast"):
        quantiles.table((lambda t, tail, fold: np.exp(np.sin(fold * np.log(t))), 100.0))
