"""Radii from intervals under two laws: known values, relations that must hold, and refusals."""

import time

import numpy as np
import pytest
from scipy import special, stats

from certflow.certify import dsrs_radius, gg_np_radius
from certflow.certify.double_sampling import scaled, tracing, truncated

PROBABILITIES = np.array([0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9998])
NP_RADII = {
    (784, 380): (0.121804, 0.245577, 0.508381, 0.816119, 1.243393, 1.596846, 2.261824, 3.011037, 3.454505),
    (784, 360): (0.124302, 0.250610, 0.518770, 0.832702, 1.268356, 1.628480, 2.305215, 3.066259, 3.515998),
    (3072, 1530): (0.117643, 0.237199, 0.491131, 0.788718, 1.202500, 1.545392, 2.191877, 2.921664, 3.353819),
    (3072, 1510): (0.123869, 0.249736, 0.516940, 0.829697, 1.263554, 1.621985, 2.294829, 3.050002, 3.495322),
    (9408, 4700): (0.113451, 0.228775, 0.473928, 0.761803, 1.163403, 1.497410, 2.129692, 2.846208, 3.271271),
    (150528, 75260): (0.113443, 0.228758, 0.473890, 0.761734, 1.163275, 1.497208, 2.129270, 2.845360, 3.270060),
    (150528, 75254): (0.120881, 0.243714, 0.504509, 0.809850, 1.233657, 1.584053, 2.242558, 2.982769, 3.419724),
}
"""(d, k): r/sigma at `PROBABILITIES`, by quadrature with doubled nodes elsewhere."""

DOUBLE = [  # d, k, q_kind, q_param, pL, pH, qL, qH, r/sigma, case
    (784, 380, "truncated", 0.75, 0.97, 0.9705, 0.985, 0.99, 1.926415, "lam2_pos"),
    (784, 380, "truncated", 0.50, 0.90, 0.905, 0.97, 0.975, 1.370723, "lam2_pos"),
    (3072, 1530, "truncated", 0.50, 0.90, 0.905, 0.97, 0.975, 1.325849, "lam2_pos"),
    (3072, 1530, "truncated", 0.50, 0.90, 0.905, 0.85, 0.86, 1.236948, "lam2_neg"),
    (150528, 75260, "truncated", 0.40, 0.90, 0.905, 0.99, 0.992, 1.373701, "lam2_pos"),
    (150528, 75260, "truncated", 0.80, 0.999, 0.9995, 0.9998, 1.0, 3.104355, "lam2_pos"),
    (150528, 75260, "truncated", 0.40, 0.90, 0.905, 0.80, 0.81, 1.296076, "lam2_neg"),
    (3072, 0, "truncated", 0.50, 0.90, 0.905, 0.97, 0.975, 1.407533, "lam2_pos"),
    (784, 380, "scaled", 0.8, 0.97, 0.9705, 0.99, 0.993, 1.892559, "lam2_pos"),
    (784, 380, "scaled", 0.8, 0.97, 0.9705, 0.95, 0.96, 1.831509, "lam2_neg"),
    (3072, 1530, "scaled", 0.8, 0.90, 0.905, 0.95, 0.955, 1.273684, "lam2_pos"),
    (3072, 1530, "scaled", 0.8, 0.90, 0.905, 0.85, 0.86, 1.230594, "lam2_neg"),
    (3072, 1530, "scaled", 0.9, 0.99, 0.9905, 0.9975, 0.998, 2.685210, "p_high"),
    (3072, 1530, "scaled", 0.95, 0.95, 0.955, 0.966, 0.970, 1.738046, "p_high"),
    (150528, 75260, "scaled", 0.8, 0.90, 0.905, 0.96, 0.965, 1.334921, "lam2_pos"),
    (150528, 75260, "scaled", 0.8, 0.90, 0.99, 0.99, 0.995, 1.902273, "q_only"),
]

Q = [("truncated", 0.5), ("truncated", 0.8), ("scaled", 0.8), ("scaled", 0.95), ("scaled", 1.2)]


def one(d, k, kind, parameter, *interval, sigma=1.0, **options) -> dict:
    found = dsrs_radius(*([value] for value in interval), d, k, sigma, kind, parameter, **options)
    return {name: values[0] for name, values in found.items()}


@pytest.mark.parametrize("d, k", NP_RADII)
def test_generalised_gaussian_radii(d, k):
    radius = gg_np_radius(PROBABILITIES, d, k, 1.0)
    expected = np.array(NP_RADII[d, k])
    assert (np.abs(radius - expected) < 6e-7).all()  # the values are given to six decimals


@pytest.mark.parametrize("d", [8, 784, 150528])
def test_without_k_it_is_the_gaussian_radius(d):
    exact = -special.ndtri(1 - PROBABILITIES)
    radius = gg_np_radius(PROBABILITIES, d, 0, 0.5)
    assert (radius <= 0.5 * exact).all()
    np.testing.assert_allclose(radius, 0.5 * exact, rtol=1e-11)


@pytest.mark.parametrize("row", DOUBLE, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}-{row[6]}")
def test_double_sampling_radii(row):
    *problem, radius, case = row
    found = one(*problem)
    assert radius - 1e-5 < found["radius"] < radius + 1e-6
    assert found["case"] == case
    assert found["status"] == "ok"
    assert found["dual"] >= 0.5
    assert found["radius"] > found["radius_np"]


STEPS = (29, 30, 30, 33, 35, 15, 17, 17, 19, 32, 28)
"""Evaluations of the masses that `DOUBLE` takes below 10,000 coordinates: two to four for each of the dual, by two rules."""


def test_multipliers_are_found_in_few_steps(monkeypatch):
    """A search that errs in its derivatives, its starts or its ends comes to the same radius, by more steps or by fewer."""
    asked = []
    for module, name in ((truncated, "mass"), (scaled, "moments")):
        made = getattr(module, name)
        counted = lambda *a, made=made, **o: asked.append(0) or made(*a, **o)  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    for steps, (*problem, _, _) in zip(STEPS, [row for row in DOUBLE if row[0] < 10_000], strict=True):
        asked.clear()
        assert 6 <= one(*problem)["n_eval"] <= 12 and abs(len(asked) - steps) <= 1


def test_intervals_that_no_classifier_has_give_the_np_radius():
    found = one(3072, 1530, "scaled", 0.9, 0.99, 0.9901, 0.999, 0.9995)
    assert found["status"] == "infeasible"
    assert found["radius"] == found["radius_np"] == pytest.approx(2.191877, abs=1e-6)
    assert one(784, 380, "truncated", 0.5, 0.9, 0.91, 0.0, 0.79)["status"] == "infeasible"
    assert one(784, 380, "truncated", 0.5, 0.6, 0.61, 0.0, 0.5)["status"] == "ok"


def test_a_narrow_step_is_not_missed():
    """A quadrature that does not know where the ball's edge is certifies 1.42 here (tau = 7.0)."""
    low, high = (stats.beta.ppf(q, *ab) for q, ab in ((0.00025, (49885, 116)), (0.99975, (49886, 115))))
    q_low, q_high = (stats.beta.ppf(q, *ab) for q, ab in ((0.00025, (49991, 10)), (0.99975, (49992, 9))))
    found = one(3072, 1530, "truncated", 0.7, low, high, q_low, q_high, sigma=0.5)
    assert found["radius"] == pytest.approx(1.419342, abs=2e-6)


def test_a_radius_does_not_jump_over_a_dip_of_the_dual():
    """With Q's upper bound binding the dual dips below 1/2 at 0.0077 sigma, and is above again at 1 sigma."""
    found = one(10, 0, "truncated", 0.49, 0.5002, 0.5102, 0.0, 1e-4)
    assert found["radius"] == pytest.approx(0.00767, abs=1e-5)


@pytest.mark.parametrize("kind, parameter", Q)
@pytest.mark.parametrize("d, k", [(784, 380), (3072, 1530), (56, 0)])
def test_no_information_gives_the_np_radius(d, k, kind, parameter):
    p = np.array([0.4, 0.6, 0.9, 0.99])
    found = dsrs_radius(p, p + 0.005, np.zeros(4), np.ones(4), d, k, 1.0, kind, parameter)
    np.testing.assert_array_equal(found["radius"], gg_np_radius(p, d, k, 1.0))
    assert (found["case"] == "naive").all()


@pytest.mark.parametrize("kind, parameter", [("truncated", 1.0), ("scaled", 0.25), ("pooled", 0.0)])
def test_a_second_distribution_that_is_the_first_gives_the_np_radius(kind, parameter):
    p = np.array([0.4, 0.6, 0.9, 0.99])
    found = dsrs_radius(p - 0.01, p + 0.01, p - 0.005, p + 0.02 * (p < 0.98), 784, 380, 0.25, kind, parameter)
    np.testing.assert_array_equal(found["radius"], gg_np_radius(p - 0.005, 784, 380, 0.25))
    assert list(found["status"]) == ["abstain", "pooled", "pooled", "pooled"]


@pytest.mark.parametrize("kind, parameter", [("truncated", 0.6), ("scaled", 0.8), ("scaled", 1.2)])
def test_better_intervals_never_give_smaller_radii(kind, parameter):
    p, q = 0.93, {"truncated": 0.96, "scaled": 0.965 if parameter < 1 else 0.88}[kind]
    start = one(784, 380, kind, parameter, p, p + 0.01, q, q + 0.01)["radius"]
    tolerance = 2e-6
    for better in ((p + 0.003, p + 0.01, q, q + 0.01), (p, p + 0.01, q + 0.005, q + 0.01), (p, p + 0.005, q, q + 0.01)):
        assert one(784, 380, kind, parameter, *better)["radius"] >= start - tolerance
    for worse in ((p - 0.01, p + 0.01, q, q + 0.01), (p, p + 0.01, q - 0.02, q + 0.01), (p, p + 0.02, q, q + 0.02)):
        assert one(784, 380, kind, parameter, *worse)["radius"] <= start + tolerance


@pytest.mark.parametrize("kind, parameter", Q)
def test_random_intervals(kind, parameter):
    """Never below NP, always certified by the dual, and proportional to sigma."""
    rng = np.random.default_rng(5)
    p = rng.uniform(0.5, 0.999, 24)
    q = np.clip(p + rng.normal(0, 0.03, 24), 0, 0.999)
    intervals = p - 0.001, p + 0.001, q - 0.001, q + 0.001
    intervals = [np.clip(v, 0, 1) for v in intervals]
    found = dsrs_radius(*intervals, 3072, 1530, 1.0, kind, parameter)
    assert (found["radius"] >= found["radius_np"]).all()
    assert (found["dual"][found["radius"] > 0] >= 0.5).all()
    half = dsrs_radius(*intervals, 3072, 1530, 0.5, kind, parameter * (0.5 if kind == "scaled" else 1))
    np.testing.assert_allclose(half["radius"], found["radius"] / 2, rtol=1e-12)
    np.testing.assert_array_equal(half["status"], found["status"])


def test_laws_that_do_not_overlap_give_the_np_radius():
    found = one(784, 0, "scaled", 0.8, 0.9, 0.91, 0.97, 0.98)
    assert (found["status"], found["radius"]) == ("disjoint", found["radius_np"])


def test_empty_vectors():
    found = dsrs_radius([], [], [], [], 784, 380, 1.0, "truncated", [])
    assert all(len(values) == 0 for values in found.values())
    assert len(gg_np_radius([], 784, 380, 1.0)) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"d": 7, "k": 0}, "8 coordinates"),
        ({"k": -1}, "k: must be from 0"),
        ({"k": 392}, "below d/2"),
        *(
            ({name: value}, f"^{name}: must be a whole number")
            for name in ("d", "k")
            for value in (8.5, "8", True, None)
        ),
        ({"sigma": 0.0}, "sigma"),
        ({"q_kind": "trunc"}, "no second distribution 'trunc'"),
        ({"q_param": 0.0}, "share of P"),
        ({"q_param": 1.01}, "share of P"),
        ({"q_kind": "scaled", "q_param": -0.1}, "scale beta"),
        ({"q_kind": "scaled", "q_param": float("inf")}, "scale beta"),
        ({"q_param": float("nan")}, "share of P"),
        *(
            ({"q_param": value}, "q_param: must be a number, or one per image")
            for value in ([0.5, 0.5], [[0.5]], "0.5", None)
        ),
        ({"pa_low": [float("nan")]}, "pa_low\\[0\\]"),
        ({"pa_low": [0.95]}, "above its upper end"),
        ({"qa_high": [1.1]}, "qa_high\\[0\\]"),
        ({"qa_low": [0.9, 0.9]}, "2 images, but 1"),
        ({"pa_low": ["0.9"]}, "vector of numbers"),
        *(({"tol": value}, "tol: must be a number from 0 to 0.1") for value in (-1.0, 0.1, True, "1e-6", None)),
        *(({"eps_num": value}, "eps_num: must be a number from 0 to 0.1") for value in (-1e-9, 0.1, float("nan"))),
    ],
)
def test_bad_values_are_refused(change, message):
    good = {
        "pa_low": [0.9], "pa_high": [0.91], "qa_low": [0.95], "qa_high": [0.96],
        "d": 784, "k": 380, "sigma": 0.5, "q_kind": "truncated", "q_param": 0.5,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        dsrs_radius(**{**good, **change})


def test_intervals_that_gain_less_than_rounding_keep_the_np_radius():
    """Q's bound misses what NP predicts by so little that the first dual, less its error, stays below 1/2."""
    p = special.ndtr(1.3)
    found = one(56, 0, "truncated", 0.5, p, p, 0.9, 0.9020)
    alone = gg_np_radius([p], 56, 0, 1.0)[0]
    assert found["radius"] >= alone
    for shift in (1e-12, 1e-10, 1e-9):
        q = _predicted(56, p) + shift
        assert one(56, 0, "truncated", 0.5, p, p, q, 1.0)["radius"] == pytest.approx(alone, abs=1e-6)


def _predicted(d: int, p: float) -> float:
    """Q(A) of a half-space with P(A) = p under Gaussian noise, Q inside the ball that holds half of it."""
    c, tau = special.ndtri(p), special.gammaincinv(d / 2, 0.5)
    edges = np.linspace(0, tau, 20001)
    t, weight = (edges[:-1] + edges[1:]) / 2, np.diff(special.gammainc(d / 2, edges))
    half = (d - 1) / 2
    return float(weight @ special.betainc(half, half, np.clip((1 + c / np.sqrt(2 * t)) / 2, 0, 1))) / 0.5


@pytest.mark.parametrize("kind, parameter, least", [("truncated", 0.6, 500), ("scaled", 0.8, 100)])
def test_radii_per_second_of_processor_time(kind, parameter, least):
    """A floor far below what is measured (3000 and 2400): it notices a loop over images, not a slow machine."""
    rng = np.random.default_rng(8)
    p = special.ndtr(rng.uniform(0.1, 3.0, 1000))
    q = 1 - (1 - p) * rng.uniform(0.5, 0.9, 1000)
    ends = [np.clip(v, 0, 1) for v in (p - 0.002, p + 0.002, q - 0.002, q + 0.002)]
    gg_np_radius([0.9], 3072, 1530, 1.0)
    start = time.process_time()
    found = dsrs_radius(*ends, 3072, 1530, 1.0, kind, parameter)
    assert (found["n_eval"] > 0).sum() > 700
    assert 1000 / (time.process_time() - start) > least


def test_a_search_that_is_stopped_early_says_so_and_its_radius_holds(monkeypatch):
    interval = 784, 380, "truncated", 0.5, 0.9, 0.91, 0.97, 0.98
    whole = one(*interval)
    monkeypatch.setattr(tracing, "MOST_STEPS", 1)
    found = one(*interval)
    assert (whole["status"], found["status"]) == ("ok", "maxiter")
    assert found["radius_np"] <= found["radius"] <= whole["radius"]
