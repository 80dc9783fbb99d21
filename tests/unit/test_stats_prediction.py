"""PREDICT's p-value and the smallest vote that can decide."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certflow.stats import prediction_p_value, smallest_n_to_predict


@pytest.mark.parametrize(
    "n1, n2, p_value",
    [
        (60, 40, 0.056887933640981),
        (67, 33, 0.000873719836912),
        (553, 447, 0.00088998596477),
        (552, 448, 0.0011150491792689),
        (10, 0, 0.001953125),
        (11, 0, 0.0009765625),
        (1, 0, 1.0),
        (0, 0, 1.0),
        (7, 7, 1.0),
    ],
)
def test_known_values(n1, n2, p_value):
    assert prediction_p_value(n1, n2) == pytest.approx(p_value, rel=1e-11)


@given(st.integers(0, 60), st.integers(0, 60))
def test_equals_exact_summation(n1, n2):
    total, most = n1 + n2, max(n1, n2)
    tail = Fraction(sum(comb(total, j) for j in range(most, total + 1)), 2**total)
    exact = 1 if n1 == n2 else min(1, 2 * tail)
    assert prediction_p_value(n1, n2) == pytest.approx(float(exact), rel=1e-13)


def test_vectorised_and_symmetric():
    values = prediction_p_value([60, 40], [40, 60])
    assert values.shape == (2,) and values[0] == values[1]


@pytest.mark.parametrize("n1, n2", [(-1, 3), (3, 1.5), (float("nan"), 1), ("3", 1)])
def test_refuses_what_are_no_votes(n1, n2):
    with pytest.raises(ValueError, match="n1|n2"):
        prediction_p_value(n1, n2)


@given(st.floats(1e-12, 0.99))
def test_smallest_n_to_predict(alpha):
    n = smallest_n_to_predict(alpha)
    assert prediction_p_value(n, 0) <= alpha
    assert n == 1 or prediction_p_value(n - 1, 0) > alpha
