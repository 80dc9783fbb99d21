"""What every function of the package accepts at the ends of the ranges that its text states, and refuses one step beyond."""

import math

import numpy as np
import pytest

import certflow.stats as package
from certflow.stats import LARGEST_N

ALPHA = 0.01
VALUES = np.arange(6.0)
WHOLE = [
    # function, its other arguments, argument, least, most
    ("anytime_failure", {"k": 0, "alpha": ALPHA}, "n", 1, LARGEST_N),
    ("anytime_failure", {"n": LARGEST_N, "alpha": ALPHA}, "k", 0, LARGEST_N),
    ("anytime_lower", {"k": 0, "alpha": ALPHA}, "n", 1, LARGEST_N),
    ("bootstrap_interval", {"values": VALUES}, "resamples", 1, None),
    ("clopper_pearson_failure", {"k": 0, "alpha": ALPHA}, "n", 1, LARGEST_N),
    ("clopper_pearson_lower", {"n": LARGEST_N, "alpha": ALPHA}, "k", 0, LARGEST_N),
    ("clopper_pearson_upper", {"k": 1, "alpha": ALPHA}, "n", 1, LARGEST_N),
    ("failures_quantile", {"alpha": ALPHA, "rho": 0.5}, "m", 1, LARGEST_N),
    ("prediction_p_value", {"n2": 0}, "n1", 0, LARGEST_N),
    ("prediction_p_value", {"n1": 0}, "n2", 0, LARGEST_N),
    ("randomized_failure", {"k": 0, "alpha": ALPHA, "u": 0.5}, "n", 1, LARGEST_N),
    ("randomized_upper", {"n": LARGEST_N, "alpha": ALPHA, "u": 0.5}, "k", 0, LARGEST_N),
    ("smallest_count_to_certify", {"alpha": ALPHA}, "n", 1, LARGEST_N),
    ("true_accuracy_lower_bound", {"certified": 0, "alpha": ALPHA, "rho": 0.5}, "images", 1, LARGEST_N),
    ("true_accuracy_lower_bound", {"images": 50, "alpha": ALPHA, "rho": 0.5}, "certified", 0, 50),
]
LEVELS = [
    ("anytime_failure", {"k": 5, "n": 9}, "alpha"),
    ("bootstrap_interval", {"values": VALUES}, "level"),
    ("clopper_pearson_failure", {"k": 5, "n": 9}, "alpha"),
    ("clopper_pearson_lower", {"k": 5, "n": 9}, "alpha"),
    ("clopper_pearson_upper", {"k": 5, "n": 9}, "alpha"),
    ("failures_quantile", {"m": 9, "alpha": ALPHA}, "rho"),
    ("randomized_failure", {"k": 5, "n": 9, "u": 1.0}, "alpha"),
    ("smallest_count_to_certify", {"n": 9}, "alpha"),
    ("true_accuracy_lower_bound", {"certified": 5, "images": 9, "alpha": ALPHA}, "rho"),
]


@pytest.mark.parametrize(("function", "others", "name", "least", "most"), WHOLE)
def test_whole_numbers_are_taken_up_to_both_ends_and_refused_beyond(function, others, name, least, most):
    call = getattr(package, function)
    for value in (end for end in (least, most) if end is not None):
        assert np.isfinite(call(**others, **{name: value})).all(), value
    for value in (least - 1, least + 0.5, math.nan, *([most + 1] if most is not None else [])):
        with pytest.raises(ValueError, match=f"^{name}: must be a whole number from {least} to "):
            call(**others, **{name: value})


@pytest.mark.parametrize(("function", "others", "name"), LEVELS)
def test_levels_lie_strictly_between_0_and_1(function, others, name):
    call = getattr(package, function)
    for value in (1e-9, 0.999):
        assert np.isfinite(call(**others, **{name: value})).all(), value
    for value in (0, 1, -0.5, math.nan, "0.5"):
        with pytest.raises(ValueError, match=f"^{name}: must "):
            call(**others, **{name: value})
