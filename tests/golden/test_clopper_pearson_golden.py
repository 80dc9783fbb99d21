"""Bounds and radii agree with high-precision values; see data/README.md for their origin."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from certflow.certify import gaussian_radius, gaussian_radius_two_bound, two_bounds_pay
from certflow.noise import Gaussian
from certflow.stats import clopper_pearson_failure, clopper_pearson_lower, clopper_pearson_upper, randomized_failure

TABLE = Path(__file__).parent / "data" / "clopper_pearson.csv"


@pytest.fixture(scope="module")
def golden() -> pd.DataFrame:
    return pd.read_csv(TABLE)


def test_bounds_agree_to_thirteen_digits(golden):
    k, n, alpha = golden["count"], golden.n, golden.alpha
    np.testing.assert_allclose(clopper_pearson_lower(k, n, alpha), golden.lower_bound, rtol=1e-13, atol=0)
    np.testing.assert_allclose(clopper_pearson_upper(n - k, n, alpha), 1 - golden.lower_bound, rtol=1e-13, atol=5e-16)


def test_unguarded_radii_agree_to_eleven_digits(golden):
    certified = golden[golden.abstain == 0]
    failure = clopper_pearson_failure(certified["count"], certified.n, certified.alpha)
    np.testing.assert_allclose(-special.ndtri(failure), certified.radius_sigma1, rtol=1e-11, atol=0)


def test_radii_are_just_below_the_golden_ones(golden):
    for row in golden[golden.alpha < 0.4].itertuples():
        radius, p_lower = gaussian_radius(row[1], row.n, row.alpha, 1.0)
        assert (radius == 0) == (row.abstain == 1) == (p_lower <= 0.5)
        assert row.radius_sigma1 - 1e-9 <= radius <= row.radius_sigma1
        assert row.lower_bound * (1 - 2e-9) <= p_lower <= row.lower_bound


@pytest.mark.parametrize(
    "n, alpha, cap",
    [
        (n, alpha, cap)
        for n, *caps in [
            (10, 0.0030, 0.3344),
            (100, 1.5005, 1.6953),
            (1000, 2.4633, 2.6049),
            (10**4, 3.1986, 3.3137),
            (10**5, 3.8115, 3.9105),
            (10**6, 4.3468, 4.4349),
        ]
        for alpha, cap in zip((0.001, 0.01), caps, strict=True)
    ],
)
def test_largest_radius(n, alpha, cap):
    assert gaussian_radius(n, n, alpha, 1.0)[0] == pytest.approx(cap, abs=5.1e-5)


@pytest.mark.parametrize(
    "n, alpha, least",
    [
        (n, alpha, least)
        for n, *both in [
            (10, 10, 10),
            (100, 66, 63),
            (1000, 550, 538),
            (10**4, 5156, 5117),
            (10**5, 50490, 50369),
            (10**6, 501546, 501164),
        ]
        for alpha, least in zip((0.001, 0.01), both, strict=True)
    ],
)
def test_fewest_hits_that_certify(n, alpha, least):
    radius, _ = gaussian_radius([least - 1, least], n, alpha, 1.0)
    assert radius[0] == 0 < radius[1]


@pytest.mark.parametrize(
    "k, n, u, bound",
    [
        (99, 100, 0.5, 0.91748482409),
        (100, 100, 0.5, 0.93974559780),
        (990, 1000, 0.25, 0.97700515602),
        (80_000, 100_000, 0.5, 0.79607107683),
        (100_000, 100_000, 0.1, 0.99995394936),
        (99, 100, 1.0, 0.91137311130),
    ],
)
def test_randomized_bounds(k, n, u, bound):
    assert 1 - randomized_failure(k, n, 0.001, u) == pytest.approx(bound, abs=5.1e-12)
    assert gaussian_radius(k, n, 0.001, 1.0, u)[1] == pytest.approx(bound, abs=2e-10)


@pytest.mark.parametrize(
    "shares, one, two",
    [
        ((60, 20), 0.241, 0.533),
        ((45, 25), 0.0, 0.261),
        ((70, 15), 0.512, 0.766),
        ((99, 0.6), 2.290, 2.376),
        ((80, 20), 0.828, 0.827),
    ],
)
def test_one_and_two_bounds(shares, one, two):
    k, k_other = (round(1000 * share) for share in shares)
    assert gaussian_radius(k, 100_000, 0.001, 1.0)[0] == pytest.approx(one, abs=5.1e-4)
    assert gaussian_radius_two_bound(k, k_other, 100_000, 0.001, 1.0)[0] == pytest.approx(two, abs=5.1e-4)
    assert two_bounds_pay(10 * shares[0], 10 * shares[1], 1000, 100_000, 0.001, Gaussian(sigma=1.0)) == (two > one)
