"""Which tests suit these images: boundaries of `decide`, tuned on stage 1 and stored in the plan as whole numbers.

Stage 1 shows how many images lie near each radius. Each radius gets the test that takes fewest draws among those that lose no
more certified accuracy than is tolerated, for images distributed so. Stage-2 draws are fresh, so that tests tuned in this way
keep their level; how well they were tuned only decides how many draws they take.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from certflow.stats import clopper_pearson_failure
from certflow.stats.deconvolution import GRID, npmle, observed
from certflow.stats.optimal import Problem, Rule, atoms, boundaries, growing_looks, least

REFERENCE = 100_000
"""Draws of the table that a loss of certified accuracy is stated against: Cohen et al. 2019."""
REWARDS = (16, 52)
"""The reward is 2^(i/2) draws for a whole number i in this range: from 256 to 67 million draws for one more image held."""
FIRST_REWARD = 34
"""Where the search for a reward begins."""
EM_STEPS, FLAT = 50, 0.02
"""Of the prior's fit: few steps from a flat start, and a flat share, keep images in what n0 draws cannot tell apart. A fit that
sees none there makes tests that give up at once; the g-model does so, and then a radius can lose 6 points."""
UNIT = 2**20
"""Weights of the prior are whole multiples of 1 / UNIT."""


@dataclass(frozen=True)
class Tuned:
    """The test of one radius."""

    accept: np.ndarray
    """int64 [looks]: from this count of hits on, the radius holds."""
    give_up: np.ndarray
    """int64 [looks]: up to this count, it is given up."""
    reward: int
    """The exponent in `REWARDS` that it was made for."""


def tuned_ladder(
    k0: np.ndarray, n0: int, failure: np.ndarray, *, first: int, last: int, alpha: float, tolerance: float
) -> dict[str, list]:
    """The tests of all radii as plain whole numbers: `looks` [looks], `accept` [radii][looks], `give_up` [radii + 1][looks]
    (the last row always gives up) and `rewards` [radii].

    k0: int64 [images], hits of the judged class among n0 stage-1 draws of each image; failure: float64 [radii], a radius holds
    where misses are rarer than this; 0: it never does. first, last: the first look, and the most draws. Takes about half a
    second per radius.
    """
    looks = growing_looks(first, last)
    density = prior_density(k0, n0)
    never = Tuned(looks + 1, looks.copy(), 0)
    found = [tuned(float(q), looks, density, alpha, tolerance) if q > 0 else never for q in failure]
    return {
        "looks": looks.tolist(),
        "accept": [one.accept.tolist() for one in found],
        "give_up": [*(one.give_up.tolist() for one in found), looks.tolist()],
        "rewards": [one.reward for one in found],
    }


def prior_density(k0: np.ndarray, n0: int) -> np.ndarray:
    """float64 [grid]: the law of the probit of p over images, from stage 1."""
    return (1 - FLAT) * npmle(observed(k0, np.full(len(k0), n0)), EM_STEPS) + FLAT / len(GRID)


def tuned(q0: float, looks: np.ndarray, density: np.ndarray, alpha: float, tolerance: float) -> Tuned:
    """The test of p0 = 1 - q0 with the least reward that loses at most `tolerance` against `REFERENCE` draws of every image.

    density: weights of images on `certflow.stats.deconvolution.GRID`.
    """
    weights = atom_weights(density, q0)
    problem = Problem(q0, tuple(looks.tolist()), tuple((weights / weights.sum()).tolist()))
    goal = float(reference_power(q0, alpha) @ weights) / weights.sum() - tolerance
    penalty = 0

    def rule(reward: int) -> Rule:
        nonlocal penalty
        found, penalty = problem.priced(2.0 ** (reward / 2), alpha, penalty)
        return found

    best, reward = least(rule, lambda one: one.power >= goal, REWARDS, FIRST_REWARD)
    return Tuned(*boundaries(q0, looks, best, alpha), reward)


def atom_weights(density: np.ndarray, q0: float) -> np.ndarray:
    """float64 [atoms]: the share of images near each atom of a test of p0 = 1 - q0; density: weights on `GRID`.

    None is less than one unit, and all are whole numbers of units: what differs in the last bits of a machine's arithmetic
    does not differ here.
    """
    _, edges = atoms(q0)
    middle = (GRID[1:] + GRID[:-1]) / 2
    upto = np.interp(edges, middle, np.cumsum(density)[:-1], left=0.0, right=1.0)
    return np.maximum(np.rint(np.diff(upto) * UNIT), 1.0) / UNIT


def reference_power(q0: float, alpha: float) -> np.ndarray:
    """float64 [atoms]: how likely an image at each atom is certified by `REFERENCE` draws; 0 at and below p0."""
    misses = np.arange(REFERENCE + 1)
    proven = int(np.searchsorted(clopper_pearson_failure(REFERENCE - misses, REFERENCE, alpha), q0)) - 1
    z, _ = atoms(q0)
    if proven < 0:
        return np.zeros(len(z))
    power = special.betainc(REFERENCE - proven, proven + 1.0, special.ndtr(z))
    return np.where(z > -special.ndtri(q0), power, 0.0)
