"""Stopping rules tried on images of known probability."""

import numpy as np
import pytest

from benchmarks.climbing import climbed
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.sampling.base import PlannedImages


class AtOnce:
    """Ends images at the look of their class's first draw, and all of them at the last where `ends`."""

    looks = np.array([1, 3, 7])

    def __init__(self, ends: bool = True):
        self.ends = ends

    def judge(self, look: int, k: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(k > 0, float(look), decided), (k > 0) | (self.ends and look == 2)

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        return np.full(len(k), float(look))


def test_images_end_where_the_rule_says():
    found = climbed(AtOnce(), np.array([1.0, 0.0, 1.0]), np.random.default_rng(0))
    assert found.k.tolist() == [1, 0, 1] and found.drawn.tolist() == [1, 7, 1] and found.decided.tolist() == [0, -1, 0]


def test_draws_between_looks_are_fresh_ones():
    found, chance = climbed(AtOnce(), np.full(20_000, 0.3), np.random.default_rng(1)), 0.7
    ended = [(found.drawn == n).mean() for n in (1, 3, 7)]
    assert ended == pytest.approx([1 - chance, chance - chance**3, chance**3], abs=0.015)
    assert found.k[found.drawn == 3].mean() == pytest.approx(2 * 0.3 / (1 - chance**2), abs=0.02)


def test_a_rule_that_does_not_end_is_refused():
    with pytest.raises(RuntimeError, match="left 1 images unfinished"):
        climbed(AtOnce(ends=False), np.array([1.0, 0.0]), np.random.default_rng(0))


def test_a_pilot_ends_an_image_with_the_miss_that_makes_it_known_and_all_at_the_last_look():
    pilot = spec_class("sampler", "pilot")(first=20, misses=8, n_max=50)
    plan = {"n": np.array([50]), "selected": np.array([0])}
    rule = pilot.measurements(PlannedImages(plan, Gaussian(sigma=0.5)))[0].rule
    assert rule.looks[0] == 20 and rule.looks[-1] == 50 and len(rule.looks) > 3
    for look, n in enumerate(rule.looks):
        decided, finished = rule.judge(look, n - np.array([0, 7, 8, 9]), np.full(4, -1.0))
        assert finished.tolist() == [n == 50, n == 50, True, True]
        assert decided.tolist() == rule.most(look, n - np.arange(4)).tolist() == [-1] * 4, "it decides no radius"


def test_a_pilot_ends_an_image_that_was_never_missed_at_the_first_look_after_so_many_draws():
    pilot = spec_class("sampler", "pilot")(first=20, clean=30, n_max=50)
    plan = {"n": np.array([50]), "selected": np.array([0])}
    rule = pilot.measurements(PlannedImages(plan, Gaussian(sigma=0.5)))[0].rule
    assert 30 not in rule.looks, "a look lies beyond it"
    for look, n in enumerate(rule.looks):
        _, finished = rule.judge(look, n - np.array([0, 1, 2]), np.full(3, -1.0))
        assert finished.tolist() == [n >= 30, n == 50, n == 50]
