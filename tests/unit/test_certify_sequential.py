"""The table of preset radii: what is held, what abstains and why."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from certflow.certify import CountsError, certificate_table
from certflow.certify.base import Drawn, pairing_problems
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.ladder import LARGEST_DIM

NOISE = Gaussian(sigma=0.5)
SPEC = spec_class("certificate", "sequential")(sampler="decide")
PLAN = pd.DataFrame(
    {"idx": [4, 8, 6, 2], "label": [0, 1, 1, 0], "selected": [0, 1, 0, 1], "k0": 9, "n0": 10, "n": [100, 90, 80, 0]}
)
COUNTS = np.array([[95, 5], [20, 70], [40, 40], [0, 0]])
DECIDED = np.array([0.25, 0.0, -1.0, -1.0])


def table(**options) -> pd.DataFrame:
    given = {"extra": {"decided": DECIDED}, **options}
    return certificate_table(Drawn(PLAN, COUNTS, NOISE, **given), SPEC, np.zeros(4))


def test_every_column_says_what_was_decided():
    rows = table()
    assert list(rows.predict) == [0, 1, -1, -1], "a radius of 0 that is held is a certified prediction"
    assert list(rows.radius) == [0.25, 0.0, 0.0, 0.0]
    assert list(rows.correct) == [1, 1, 0, 0]
    assert list(rows.reason) == ["", "", "low_pA", "not_sampled"]
    assert list(rows.k) == [95, 70, 40, 0] and list(rows.n) == [100, 90, 80, 0]
    assert not rows.saturated.any()
    np.testing.assert_array_equal(rows.p_lower, [ndtr(0.5), 0.5, 0.0, 0.0])
    np.testing.assert_array_equal(rows.p_upper, 1 - rows.p_lower)


def test_a_certificate_and_a_sampler_that_stop_otherwise_are_told_what_would_fit():
    for certificate, sampler, fit in (
        ("neyman_pearson", "decide", "sequential or anytime"),
        ("sequential", "fixed", "one for a fixed number of draws, such as neyman_pearson"),
    ):
        spec = spec_class("certificate", certificate)(sampler="x")
        wanted = [f"counts of a {sampler} sampler need another certificate: {fit}"]
        assert pairing_problems(spec, NOISE, spec_class("sampler", sampler)()) == wanted


def test_counts_without_decisions_are_refused():
    with pytest.raises(CountsError, match="hold no decisions"):
        table(extra={})


def test_exact_decisions_stand_for_images_up_to_the_stated_size():
    largest = NOISE.distance(LARGEST_DIM)
    pd.testing.assert_frame_equal(table(slack=largest), table())
    with pytest.raises(ValueError, match="larger than exact decisions allow for"):
        table(slack=largest * (1 + 1e-9), dim=LARGEST_DIM + 1)
