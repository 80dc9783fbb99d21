"""The distributional certificate: its formulas, its inequalities on any sample, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm

from certflow import knowledge
from certflow.knowledge import bounds, kernel, scans
from certflow.knowledge.pairs import disjoint_pairs, points

DELTAS = [0.5, 1.5, 3.0, 5.0]


def sample(n=101, dim=6, seed=0, accuracy=0.8):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)), (rng.random(n) > accuracy).astype(float)


def slow_kernel(z, losses, delta):
    d = np.linalg.norm(z[:, None] - z, axis=2)
    with np.errstate(divide="ignore"):
        whole = np.abs(losses[:, None] - losses) * np.minimum(1, delta / d)
    np.fill_diagonal(whole, 0)
    return whole


@pytest.mark.parametrize("two_valued", [True, False])
def test_the_sums_for_all_deltas_are_those_of_each(two_valued, monkeypatch):
    monkeypatch.setattr("certflow.knowledge.pairs.BLOCK", 16)
    monkeypatch.setattr("certflow.knowledge.kernel.BLOCK", 16)
    z, losses = sample(50)
    losses = losses if two_valued else np.random.default_rng(3).random(50)
    z[4] = z[9]
    deltas = np.array([0.5, np.linalg.norm(z[0] - z[1]), 4.0, 50.0])
    found = kernel.moments(points(z, losses), np.sort(deltas), powers=(1, 2))
    for number, delta in enumerate(np.sort(deltas)):
        whole = slow_kernel(z, losses, delta)
        assert found[0, :, number] == pytest.approx(whole.sum(1), abs=1e-10)
        assert found[1, :, number] == pytest.approx((whole**2).sum(1), abs=1e-10)


def test_pairs_are_disjoint_and_as_many_as_there_can_be():
    first, second = disjoint_pairs(101, seed=3)
    assert len(first) == len(second) == 50 and len({*first, *second}) == 100
    assert not np.array_equal(first, disjoint_pairs(101, seed=4)[0])


def expected(z, losses, delta, eta, bound, level, near_level):
    """The joint and the conditional bound, written out."""
    n, m = len(z), len(z) // 2
    first, second = disjoint_pairs(n, 0)
    whole = slow_kernel(z, losses, delta)
    pairs, mean = whole[first, second], whole.sum() / (n * (n - 1))
    if bound == "hoeffding":
        upper = mean + math.sqrt(math.log(1 / level) / (2 * m))
    elif bound == "emp_bernstein":
        log = math.log(2 / level)
        upper = pairs.mean() + math.sqrt(2 * pairs.var(ddof=1) * log / m) + 7 * log / (3 * (m - 1))
    else:
        rows = whole.sum(1) / (n - 1)
        upper = rows.mean() + norm.isf(level) * 2 * rows.std(ddof=1) / math.sqrt(n)
    near = (np.linalg.norm(z[first] - z[second], axis=1) < delta).mean()
    lower = max(0, near - math.sqrt(math.log(1 / near_level) / (2 * m)))
    return min(1, upper), lower


@pytest.mark.parametrize("bound", ["emp_bernstein", "hoeffding", "clt"])
@pytest.mark.parametrize("whole_curve", [True, False])
def test_every_column_is_its_formula(bound, whole_curve):
    z, losses = sample(400, accuracy=0.95)
    table = knowledge.certify(z, losses, DELTAS, [0.5, 1.0], 0.1, bound, whole_curve=whole_curve)
    share = 0.1 / len(DELTAS) if whole_curve else 0.1
    assert len(table) == 8
    for row in table.itertuples():
        upper, lower = expected(z, losses, row.delta, row.eta, bound, share, 0.05)
        half, _ = expected(z, losses, row.delta, row.eta, bound, share / 2, 0.05)
        assert row.kernel_upper == pytest.approx(upper, rel=1e-9) and row.near_lower == pytest.approx(lower, abs=1e-12)
        assert row.joint_bound == pytest.approx(min(1, upper / row.eta), rel=1e-9)
        conditional = min(1, half / row.eta / lower) if lower > 0 else 1
        assert row.conditional_bound == pytest.approx(conditional, rel=1e-9)
        first, second = disjoint_pairs(400, 0)
        d, apart = np.linalg.norm(z[first] - z[second], axis=1), np.abs(losses[first] - losses[second])
        k = int(((apart >= row.eta) & (d < row.delta)).sum())
        assert row.direct_share == k / 200
        assert row.direct_upper == pytest.approx(beta.isf(share / 2, k + 1, 200 - k), rel=1e-9)
    assert (table.conditional_bound < 1).any() and (table.joint_bound < 1).any() and (table.direct_share > 0).any()
    assert set(table.sound) == {bound != "clt"} and set(table.claim) == {"distributional"}


def test_bounds_never_fall_with_delta_and_never_rise_with_eta():
    z, losses = sample(400)
    table = knowledge.certify(z, losses, np.linspace(0.2, 8, 30), [0.25, 0.5, 1.0], 0.05)
    by_delta = table.pivot(index="delta", columns="eta", values="joint_bound").to_numpy()
    assert (np.diff(by_delta, axis=0) >= 0).all() and (np.diff(by_delta, axis=1) <= 0).all()


def test_a_difference_that_no_two_losses_have_is_certified_away():
    table = knowledge.certify(*sample(), DELTAS, [1.5], 0.05, stabiliser=0.1)
    assert (table[["joint_bound", "conditional_bound", "linear_bound"]] == 0).all(axis=None)


def test_the_linear_bound_is_one_number_for_all_deltas():
    z, losses = sample(500)
    table = knowledge.certify(z, losses, [0.1, 0.2, 1.0], [1.0], 0.05, floor=1.0, stabiliser=0.25)
    upper = knowledge.volatility_upper(z, losses, 0.05, floor=1.0, stabiliser=0.25)
    assert table.linear_bound.to_numpy() == pytest.approx([min(1, 1.25 * upper)] * 3)
    first, second = disjoint_pairs(500, 0)
    d = np.linalg.norm(z[first] - z[second], axis=1)
    pairs, log = np.abs(losses[first] - losses[second]) / (np.maximum(d, 1) + 0.25), math.log(2 / 0.05)
    by_hand = pairs.mean() + math.sqrt(2 * pairs.var(ddof=1) * log / 250) + 7 / 1.25 * log / (3 * 249)
    assert upper == pytest.approx(by_hand, rel=1e-9)


@given(st.integers(0, 10**6), st.floats(0.05, 5), st.floats(0.05, 1), st.sampled_from([0.0, 0.01, 0.5]))
def test_markov_holds_on_every_sample(seed, delta, eta, stabiliser):
    """freq(Δ ≥ η, d < δ) ≤ mean kernel / η ≤ δ·volatility / η, with nothing but rounding between."""
    rng = np.random.default_rng(seed)
    z, losses = rng.normal(size=(25, 3)), rng.random(25)
    d, apart = np.linalg.norm(z[:, None] - z, axis=2), np.abs(losses[:, None] - losses)
    event = ((apart >= eta) & (d < delta)).sum() / (25 * 24)
    mean = kernel.moments(points(z, losses), np.array([delta])).sum() / (25 * 24)
    assert event <= mean / eta * (1 + 1e-12)
    assert mean / eta <= delta * knowledge.volatility(z, losses).value / eta * (1 + 1e-12)
    shifted = (delta + stabiliser) * knowledge.volatility(z, losses, "l2", stabiliser).value / eta
    assert event <= shifted * (1 + 1e-12)


def test_the_bootstrap_by_products_is_resampling():
    z, losses = sample(30)
    whole = slow_kernel(z, losses, 2.0)
    weights = 1.0 - np.eye(30)
    weights[3, 4] = weights[4, 3] = 0
    whole *= weights
    found = bounds.resampled_means(whole, weights, 40, seed=5)
    counts = bounds.resample_counts(30, 40, np.random.default_rng(5))
    for mean, count in zip(found, counts, strict=True):
        drawn = np.repeat(np.arange(30), count.astype(int))
        kept = weights[np.ix_(drawn, drawn)]
        assert mean == pytest.approx(whole[np.ix_(drawn, drawn)].sum() / kept.sum(), rel=1e-12)


def test_the_bootstrap_bound_is_the_mean_and_z_deviations_of_it():
    z, losses = sample(80)
    table = knowledge.certify(z, losses, [2.0], [1.0], 0.1, "bootstrap", resamples=300, seed=4)
    means = bounds.resampled_means(slow_kernel(z, losses, 2.0), 1 - np.eye(80), 300, 4)
    assert table.kernel_upper[0] == pytest.approx(means.mean() + norm.isf(0.1) * means.std(ddof=1), rel=1e-9)
    assert not table.sound[0]
    volatility = knowledge.volatility_upper(z, losses, 0.1, "bootstrap", resamples=300)
    found = knowledge.volatility(z, losses)
    assert found.value < volatility < found.value + 4 * found.standard_error


@pytest.mark.parametrize("bound", ["emp_bernstein", "hoeffding"])
def test_anchors_of_which_none_begins_a_pair_certify_nothing(bound):
    z, losses = sample(60)
    _, second = disjoint_pairs(60, 0)
    anchors = np.zeros(60, bool)
    anchors[second[0]] = True
    (row,) = knowledge.certify(z, losses, [2.0], [1.0], 0.05, bound, anchors=anchors).to_dict("records")
    assert row["pairs"] == 0 and np.isnan(row["kernel_mean"]) and np.isnan(row["direct_share"])
    assert row["kernel_upper"] == row["joint_bound"] == row["conditional_bound"] == row["direct_upper"] == 1


def test_anchors_choose_which_points_come_first():
    z, losses = sample(400, accuracy=0.9)
    anchors = losses == 0
    table = knowledge.certify(z, losses, [2.0], [1.0], 0.05, anchors=anchors)
    first, second = disjoint_pairs(400, 0)
    kept = anchors[first]
    whole = slow_kernel(z, losses, 2.0)[first[kept], second[kept]]
    assert table.pairs[0] == kept.sum() and table.kernel_mean[0] == pytest.approx(whole.mean())
    with pytest.raises(ValueError, match="all of them as anchors"):
        knowledge.certify(z, losses, [2.0], [1.0], 0.05, "clt", anchors=anchors)
    with pytest.raises(ValueError, match="anchors: must be truth values"):
        knowledge.certify(z, losses, [2.0], [1.0], 0.05, anchors=np.zeros(400, bool))


def test_the_scan_stops_at_the_first_failure_and_spends_no_level_on_the_grid():
    z, losses = sample(1000, accuracy=0.97)
    deltas = np.linspace(0.5, 8, 40)
    star = knowledge.largest_distance(z, losses, deltas, 1.0, 0.05, 0.05)
    table = knowledge.certify(z, losses, deltas, [1.0], 0.05, whole_curve=False)
    passed = table.delta[table.joint_bound <= 0.05]
    assert 0 < star == passed.max() < 8
    whole = knowledge.certify(z, losses, deltas, [1.0], 0.05)
    assert star > whole.delta[whole.joint_bound <= 0.05].max()
    assert knowledge.largest_distance(z, losses, deltas, 1.0, 1e-4, 0.05) == 0
    assert knowledge.largest_distance(z, losses, deltas, 1.1, 1e-4, 0.05) == 8


@pytest.mark.parametrize("bound", ["emp_bernstein", "hoeffding"])
def test_each_point_is_certified_from_its_own_row(bound):
    z, losses = sample(300, accuracy=0.95)
    deltas = np.linspace(0.5, 8, 12)
    table = knowledge.certify_points(z, losses, deltas, 1.0, 0.15, 0.05, bound)
    log = math.log(2 / 0.05)
    for i in (0, 7, int(losses.argmax())):
        star = 0.0
        for delta in deltas:
            row = np.delete(slow_kernel(z, losses, delta)[i], i)
            width = math.sqrt(math.log(1 / 0.05) / (2 * 299))
            if bound == "emp_bernstein":
                width = math.sqrt(2 * row.var(ddof=1) * log / 299) + 7 * log / (3 * 298)
            if delta == deltas[0]:
                assert table.kernel_upper[i] == pytest.approx(min(1, row.mean() + width), rel=1e-9)
            if row.mean() + width > 0.15:
                break
            star = delta
        assert table.delta_star[i] == star
    assert table.delta_star.max() > 0 and table.delta_star[losses == 1].max() < table.delta_star.max()
    with pytest.raises(ValueError, match="one point is certified by"):
        knowledge.certify_points(z, losses, deltas, 1.0, 0.1, 0.05, "clt")


@pytest.mark.parametrize(("reach", "bound"), [(0.1, 2.01), (0.25, 0.825), (0.5, 0.452), (0.75, 0.349), (1.0, 0.316)])
def test_the_paper_formula_at_its_known_values(reach, bound):
    found = knowledge.paper_certificate(0.18 / 3, reach * 3, 0.9, 3.0)
    assert found == pytest.approx(max(0, 1 - bound), abs=6e-4)


def test_the_paper_formula_is_nothing_outside_its_region():
    assert knowledge.paper_certificate(0.001, 0.5, 0.9, 1.0, anchor_share=0.7) == 0
    assert knowledge.paper_certificate(0.001, 1.0, 0.9, 1.0, anchor_share=0.7) > 0
    assert knowledge.paper_certificate(0.001, 1.0, 0.9, 1.0, anchor_share=0.3) == 0
    with pytest.raises(ValueError, match="anchor_share"):
        knowledge.paper_certificate(0.1, 1.0, 0.9, 1.0, anchor_share=0.0)
    with pytest.raises(ValueError, match="diameter"):
        knowledge.paper_certificate(0.1, 1.0, 0.9, 0.0)


def test_the_paper_formula_does_not_hold():
    """Its own counterexample: every point of a wrong cluster has a right partner, and so the event is certain."""
    a, diameter = 0.9, 1.0
    certified = knowledge.paper_certificate(2 * a * (1 - a) / diameter, diameter, 0.9, diameter)
    assert certified == pytest.approx(1 - 0.3164, abs=1e-4), "what it certifies happens never"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"etas": [0.0]}, "etas: must be above 0"),
        ({"deltas": [-1.0, 2.0]}, "deltas: must be above 0"),
        ({"deltas": []}, "deltas: must be above 0"),
        ({"alpha": 1.0}, "alpha: must lie strictly between 0 and 1"),
        ({"bound": "chebyshev"}, "known: emp_bernstein, hoeffding, clt, bootstrap"),
        ({"loss_max": math.inf}, "bounded loss, such as prob_ce, prob, zero_one"),
        ({"loss_max": 0.5}, "more than loss_max=0.5"),
        ({"loss_max": -1.0}, "loss_max: must be above 0"),
        ({"floor": -1.0}, "floor: must not be negative"),
        ({"floor": math.nan}, "floor: must not be negative"),
        ({"stabiliser": -0.1}, "stabiliser: must not be negative"),
        ({"bound": "bootstrap", "resamples": 1}, "resamples: the spread of resampled means needs 2"),
        ({"z": np.array([1j, 2, 3])}, "must be real numbers"),
    ],
)
def test_bad_requests_are_named(changes, message):
    z, losses = sample()
    with pytest.raises(ValueError, match=message):
        knowledge.certify(**{"z": z, "losses": losses, "deltas": [1.0], "etas": [1.0], "alpha": 0.05, **changes})


def test_an_unbounded_ratio_is_refused_and_few_points_are_warned_of():
    z, losses = sample(40)
    with pytest.raises(ValueError, match="needs a floor or a stabiliser"):
        knowledge.volatility_upper(z, losses, 0.05)
    with pytest.raises(ValueError, match="no bound 'chernoff'; known: "):
        knowledge.volatility_upper(z, losses, 0.05, "chernoff", floor=1.0)
    with pytest.warns(UserWarning, match="40 points"):
        knowledge.certify(z, losses, [1.0], [1.0], 0.05)
    assert knowledge.volatility_upper(z, losses, 0.05, "clt") > knowledge.volatility(z, losses).value


# ---- edges that a formula alone does not show


def shown(paired=(0.1, 0.3, 0.2), per_point=(0.1, 0.2, 0.3, 0.1), high=1.0):
    """Evidence as a sample of a few points shows it."""
    n = len(per_point)
    return bounds.Evidence(np.array(paired), np.array(per_point), high, lambda: (np.full((n, n), 0.2), 1 - np.eye(n)))


@pytest.mark.parametrize("name", ["emp_bernstein", "hoeffding", "clt"])
def test_bounds_are_rounded_away_from_what_would_be_certified(name):
    many = shown(paired=np.full(5000, 0.1), per_point=np.linspace(0.05, 0.15, 10_000))
    exact = bounds.BOUNDS[name].upper(many, 0.05)
    assert exact < bounds.upper(name, many, 0.05) < exact * (1 + 1e-9)


def test_too_few_pairs_say_no_more_than_the_largest_value():
    assert bounds.upper("emp_bernstein", shown(paired=[0.0], high=0.7), 0.05) == 0.7
    assert bounds.upper("hoeffding", shown(paired=[], high=0.7), 0.05) == 0.7
    assert bounds.upper("hoeffding", shown(paired=[0.0, 0.0], per_point=[], high=0.7), 0.5) < 0.7


def test_asymptotic_bounds_need_three_points_and_the_bootstrap_pairs_that_fit():
    for name in ("clt", "bootstrap"):
        with pytest.raises(ValueError, match="3 points or more"):
            bounds.upper(name, shown(per_point=(0.1, 0.2)), 0.05)
        assert bounds.upper("clt", shown(per_point=(0.1, 0.2, 0.3)), 0.05) < 1
    with pytest.raises(ValueError, match="a resample has no pair"):
        bounds.resampled_means(np.ones((3, 3)) - np.eye(3), 1 - np.eye(3), 200, 0)


def test_the_bootstrap_refuses_more_pairs_than_it_can_hold(monkeypatch):
    monkeypatch.setattr(bounds, "LARGEST_MATRIX", 4)
    assert len(bounds.resampled_means(np.ones((4, 4)), np.ones((4, 4)), 3, 0)) == 3
    with pytest.raises(ValueError, match="at most 4 points, got 5"):
        bounds.resampled_means(np.ones((5, 5)), np.ones((5, 5)), 3, 0)

    def unmade():
        raise AssertionError("all pairs were held before they were counted")

    with pytest.raises(ValueError, match="at most 4 points, got 5"):
        bounds.upper("bootstrap", replace(shown(per_point=(0.1,) * 5), matrix=unmade), 0.05)


def test_what_passes_again_after_a_failure_is_not_certified():
    passes = np.array([[True, False, True], [False, True, True], [True, True, True], [True, True, False]])
    assert scans._last(passes, np.array([1.0, 2.0, 4.0])).tolist() == [1.0, 0.0, 4.0, 2.0]


def test_pairs_at_exactly_the_distance_are_not_below_it():
    """Points at 0 and 1 alone: distances 0 and 1."""
    z, losses = np.arange(200) % 2, (np.arange(200) % 4 == 1).astype(float)
    table = knowledge.certify(z, losses, [1.0], [1.0], 0.05)
    first, second = disjoint_pairs(200, 0)
    equal = z[first] == z[second]
    assert 0.3 < table.near_share[0] == equal.mean() < 0.7
    assert table.direct_share[0] == (equal & (losses[first] != losses[second])).mean()
