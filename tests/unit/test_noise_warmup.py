"""The growth of the exponent during training, against the published schedule's values."""

import pytest

from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.noise.warmup import warm_exponent

SCHEDULES = {
    (380, 100): {0: 0, 1: 22, 2: 43, 5: 98, 10: 171, 20: 265, 50: 361, 99: 379, 100: 379, 101: 380},
    (380, 70): {0: 0, 1: 31, 2: 60, 5: 132, 10: 218, 20: 311, 50: 375, 69: 379, 70: 379, 71: 380},
    (1530, 100): {0: 0, 1: 109, 2: 209, 5: 470, 10: 796, 20: 1178, 50: 1491, 99: 1529, 100: 1529, 101: 1530},
    (1530, 110): {0: 0, 1: 99, 2: 191, 5: 434, 10: 745, 20: 1127, 50: 1476, 109: 1529, 110: 1529, 111: 1530},
    (75260, 60000): {
        1: 15,
        10: 141,
        100: 1396,
        1000: 12846,
        10_000: 63678,
        30_000: 74986,
        60_000: 75259,
        60_001: 75260,
    },
}


@pytest.mark.parametrize(("schedule", "values"), SCHEDULES.items())
def test_the_published_values(schedule, values):
    k, length = schedule
    assert {counter: warm_exponent(k, counter, length) for counter in values} == values


@pytest.mark.parametrize("k", [1, 2, 3, 17, 380])
@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_it_rises_from_nothing_to_all(k, length):
    values = [warm_exponent(k, counter, length) for counter in range(length + 3)]
    assert values == sorted(values)
    assert values[0] == 0 and values[length] == k - 1 and values[length + 1 :] == [k, k]


def test_ends():
    assert [warm_exponent(0, counter, 10) for counter in (0, 5, 10, 11)] == [0, 0, 0, 0]
    assert [warm_exponent(9, counter, 0) for counter in (0, 1)] == [9, 9]
    assert [warm_exponent(1, counter, 3) for counter in range(5)] == [0, 0, 0, 0, 1]
    for counter, length in ((-1, 5), (1, -5)):
        with pytest.raises(ValueError, match="negative"):
            warm_exponent(3, counter, length)


def test_laws_warm_up_where_they_can():
    law = GeneralizedGaussian(k=380, sigma=0.5)
    assert law.warms_up and law.warmed(10, 100) == GeneralizedGaussian(k=171, sigma=0.5)
    assert law.warmed(3, 0) == law
    plain = Gaussian(sigma=0.5)
    assert not plain.warms_up and plain.warmed(10, 100) is plain
