"""The anytime certificate: from any sampler's counts, at their actual numbers of draws, never above the fixed-n radius."""

import numpy as np
import pandas as pd
import pytest

from certflow.certify.base import Drawn, pairing_problems
from certflow.certify.kinds.anytime import Anytime
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.noise.kinds.none import NoNoise
from certflow.stats import anytime_lower

NOISE, SPEC = Gaussian(sigma=0.5), Anytime(sampler="x")
N = np.array([1000, 200, 0, 50_000])
K = np.array([990, 120, 0, 50_000])


def drawn(**changes) -> Drawn:
    plan = pd.DataFrame({"idx": range(4), "label": 0, "selected": 1, "k0": 90, "n0": 100, "n": N})
    return Drawn(plan, np.stack([N - K, K], axis=1), NOISE, **changes)


def test_radii_are_those_of_the_bound_and_below_the_ones_for_a_fixed_number():
    table, fixed = SPEC.certify(drawn()), NeymanPearson(sampler="x").certify(drawn())
    np.testing.assert_allclose(table.p_lower[[0, 1, 3]], anytime_lower(K[[0, 1, 3]], N[[0, 1, 3]], 0.001))
    assert (table.radius <= fixed.radius).all() and table.radius[0] > 0.8 * fixed.radius[0]
    assert table.predict.tolist() == [1, -1, -1, 1] and table.reason.tolist() == ["", "low_pA", "not_sampled", ""]
    assert table.saturated.tolist() == [False, False, False, True]


def test_slack_is_given_away():
    plain, loose = SPEC.certify(drawn()), SPEC.certify(drawn(slack=1e-3))
    assert (loose.radius < plain.radius)[[0, 3]].all()


@pytest.mark.parametrize("kind, fields", [("fixed", {}), ("decide", {}), ("planned", {"budget": 1000})])
def test_it_reads_counts_of_every_sampler(kind, fields):
    assert pairing_problems(SPEC, NOISE, spec_class("sampler", kind)(**fields)) == []


def test_it_needs_a_radius():
    (problem,) = pairing_problems(SPEC, NoNoise(), spec_class("sampler", "fixed")())
    assert (
        problem.startswith("norm: no l2 radius is known under noise of kind none; known: ")
        and " gaussian (l2)" in problem
    )
