"""No double sampling certificate beyond the truth: classifiers whose probabilities and true radius are known by integration.

The classifiers are a half-space, a slab, balls and shells around the image, and the outside of a ball. What they are
integrated with here shares nothing with the certificate's own quadrature. Simulated claims are judged by the exact binomial
test at false-alarm rate 1e-6 each, with fixed seeds.
"""

import math

import numpy as np
import pandas as pd
import pytest
from claims import at_most
from scipy import optimize, special

from certflow.certify import dsrs_radius, gg_np_radius
from certflow.certify.base import Drawn
from certflow.certify.kinds.dsrs import DoubleSampling
from certflow.noise import GeneralizedGaussian

pytestmark = pytest.mark.statistical
LEVEL = 1e-6
LAWS = [(56, 0), (56, 22), (784, 380)]
SECOND = [("truncated", 0.5, 1e-6), ("truncated", 0.8, 0.01), ("scaled", 0.9, 1e-6), ("scaled", 1.25, 0.01)]
"""Kind and parameter of the second law, and how wide the intervals are."""


class Truth:
    """A classifier that answers the class where a function of position says so, under noise N^g(k, 1) in d dimensions.

    `half` (c): coordinate below c. `slab` (c): coordinate within c. `shell` (low, high): percentiles of ||x|| between which it
    is the class.
    """

    def __init__(self, d: int, k: int, shape: str, *numbers: float):
        self.d, self.k, self.a, self.shape = d, k, d / 2 - k, shape
        self.scale = math.sqrt(d / (d - 2 * k))
        self.t, self.weight = self._rule(0.0, special.gammainccinv(self.a, 1e-15))
        if shape == "shell":
            numbers = tuple(special.gammaincinv(self.a, p) for p in numbers)
        self.numbers = numbers

    def probability(self, r: float = 0.0) -> float:
        """Of the class, at distance r from the image, in the direction that hurts most."""
        if self.shape == "shell" and r == 0:
            return float(np.diff(special.gammainc(self.a, self.numbers))[0])
        return float(self.weight @ self._given(self.t, r))

    def second(self, kind: str, parameter: float) -> float:
        """Of the class under the second law, at the image."""
        if self.shape == "shell":  # in closed form: such classifiers lie at the edge of what is feasible
            ends = np.asarray(self.numbers) / (parameter**2 if kind == "scaled" else 1)
            inside = special.gammainc(self.a, ends)
            return float(np.diff(inside if kind == "scaled" else np.minimum(inside / parameter, 1.0))[0])
        if kind == "scaled":
            return float(self.weight @ self._given(self.t * parameter**2, 0.0))
        tau = special.gammaincinv(self.a, parameter)
        t, weight = self._rule(0.0, tau)
        return float(weight @ self._given(t, 0.0)) / parameter

    def radius(self) -> float:
        """Where the probability falls to 1/2."""
        high = 0.5
        while self.probability(high) > 0.5:
            high *= 1.5
        return optimize.brentq(lambda r: self.probability(r) - 0.5, 0.0, high, xtol=1e-10)

    def _rule(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Cells in sqrt(t): their middles and their exact P-weights. Good to about 1e-7."""
        edges = np.linspace(math.sqrt(low), math.sqrt(high), 4001)
        x = (edges[:-1] + edges[1:]) / 2
        weight = np.diff(special.gammainc(self.a, edges**2))
        return x**2, weight

    def _given(self, t: np.ndarray, r: float) -> np.ndarray:
        """Probability of the class given the noise's radial coordinate."""
        size = self.scale * np.sqrt(2 * t)
        if self.shape == "shell":
            rho = max(r / self.scale, 1e-9)
            low, high = (self._cosine_below((edge - t - rho**2 / 2) / (rho * np.sqrt(2 * t))) for edge in self.numbers)
            return high - low
        (c,) = self.numbers
        below = self._cosine_below((c - r) / size)
        return below if self.shape == "half" else below - self._cosine_below((-c - r) / size)

    def _cosine_below(self, value: np.ndarray) -> np.ndarray:
        half = (self.d - 1) / 2
        return special.betainc(half, half, np.clip((1 + value) / 2, 0, 1))


def truths(d: int, k: int) -> list[Truth]:
    shapes = [("half", 0.3), ("half", 1.3), ("half", 2.5), ("slab", 1.6), ("slab", 2.6)]
    shapes += [
        ("shell", 0.0, 0.55),
        ("shell", 0.0, 0.9),
        ("shell", 0.02, 0.97),
        ("shell", 0.2, 0.9),
        ("shell", 0.3, 1 - 1e-13),
    ]
    return [Truth(d, k, *shape) for shape in shapes]


@pytest.mark.parametrize("d, k", LAWS)
def test_no_radius_beyond_the_truth(d, k):
    """Intervals that contain the true probabilities, tight and loose ones, for every classifier and second law."""
    known = truths(d, k)
    p = np.array([truth.probability() for truth in known])
    largest = np.array([truth.radius() for truth in known])
    gained = 0
    assert (gg_np_radius(np.clip(p - 1e-6, 0, 1), d, k, 1.0) <= largest + 1e-6).all()
    for kind, parameter, width in SECOND:
        q = np.array([truth.second(kind, parameter) for truth in known])
        ends = [np.clip(v, 0, 1) for v in (p - width, p + width / 2, q - width / 3, q + width)]
        found = dsrs_radius(*ends, d, k, 1.0, kind, parameter)
        assert np.isin(found["status"], ["ok", "abstain", "disjoint"]).all()
        assert (found["radius"] <= largest + 1e-6).all()
        gained += (found["radius"] > found["radius_np"] + 1e-3).sum()
    assert gained > 8


def test_a_ball_is_certified_nearly_completely():
    """What is right in a ball alone, and known to be, is the worst classifier of its probabilities."""
    for k, share in ((0, 1 - 1e-5), (22, 0.85)):
        truth = Truth(56, k, "shell", 0.0, 0.8)
        found = dsrs_radius([0.8], [0.8], [1.0], [1.0], 56, k, 1.0, "truncated", 0.8)
        assert share * truth.radius() < found["radius"][0] < truth.radius() + 1e-6
        assert found["radius"][0] > 3 * found["radius_np"][0]


def test_half_spaces_are_certified_completely_under_gaussian_noise():
    truth = Truth(56, 0, "half", 1.3)
    p, q = truth.probability(), truth.second("truncated", 0.5)
    ends = (value + sign * 1e-8 for value in (p, q) for sign in (-1, 1))
    found = dsrs_radius(*([end] for end in ends), 56, 0, 1.0, "truncated", 0.5)
    assert 1.3 - 1e-5 < found["radius"][0] < 1.3 + 1e-6


@pytest.mark.parametrize(
    "d, k, shape, kind, parameter, shares",
    [
        (56, 0, ("half", 0.8), "truncated", 0.5, [0.25] * 4),
        (56, 0, ("half", 0.8), "scaled", 0.9, [0.45, 0.05, 0.25, 0.25]),
        (56, 22, ("shell", 0.0, 0.8), "truncated", 0.8, [0.45, 0.05, 0.25, 0.25]),
        (784, 380, ("shell", 0.0, 0.8), "scaled", 0.8, [0.25] * 4),
    ],
)
def test_certificates_from_counts_are_wrong_at_most_alpha(d, k, shape, kind, parameter, shares):
    """Whole certificates of equal images from simulated counts; a large alpha makes failures visible."""
    alpha, n, images = 0.1, 400, 600
    truth = Truth(d, k, *shape)
    rng = np.random.default_rng(11)
    drawn = [rng.binomial(n, value, images) for value in (truth.probability(), truth.second(kind, parameter))]
    counts, counts_q = (np.stack([hits, n - hits], axis=1) for hits in drawn)
    plan = pd.DataFrame(
        {
            "idx": np.arange(images), "label": 0, "selected": 0, "k0": 1, "n0": 1,
            "n": n, "n_q": n, "q_kind": kind, "q_param": parameter,
        }
    )  # fmt: skip
    noise = GeneralizedGaussian(k=k, sigma=1.0)
    spec = DoubleSampling(sampler="double", alpha=alpha, shares=shares)
    table = spec.certify(Drawn(plan, counts, noise, extra={"counts_q": counts_q}, dim=d))
    wrong = int((table.radius > truth.radius()).sum())
    assert at_most(wrong, images, alpha, LEVEL)
    assert (table.radius > table.radius_np).mean() > 0.4
    if shape[0] == "half":
        assert wrong > 0
