"""Which tests suit these images: boundaries of `decide`, tuned on stage 1 and stored in the plan as whole numbers.

Stage 1 shows how many images lie near each radius. All radii together get the ladder of tests that takes fewest draws among
those that lose no more certified accuracy than is tolerated at any radius, for images distributed so. Stage-2 draws are fresh,
so that tests tuned in this way keep their level; how well they were tuned only decides how many draws they take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from certflow.stats.deconvolution import GRID, observed, smooth
from certflow.stats.estimate import certification_power
from certflow.stats.lattice import Prior, atoms
from certflow.stats.optimal import Rule, Rungs, boundaries, growing_looks

REFERENCE = 100_000
"""Draws of the table that a loss of certified accuracy is stated against: Cohen et al. 2019."""
REWARDS = (64, 208)
"""The reward is 2^(i/`FINE`) draws for a whole number i in this range: from 256 to 67 million draws for one more image held."""
FINE = 8
FIRST_REWARD = 128
"""Where the search for the rewards begins."""
ROUNDS, LARGEST_STEP = 8, 24
"""Of that search: how often all rewards are set anew, and by how much at most."""
RESPONSE = 0.55
"""A reward is raised by this power of what its radius loses too much: losses fall a little faster than 1 / reward."""
CLOSE = 1.05
"""A radius may lose so many times the tolerance; rewards and lattice are no finer."""
STIFFNESS = 1000.0
"""Of the law that stage 1 shows (see `certflow.stats.deconvolution.smooth`). A stiffer law is a little wrong at every
radius; a less stiff one takes chance for a hole or a heap of images at some radius, and its test is far off there."""
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

    k0: int64 [images], hits of the judged class among n0 stage-1 draws of each image; failure: float64 [radii], decreasing, a
    radius holds where misses are rarer than this; 0: it never does. first, last: the first look, and the most draws. Takes
    about half a second per radius.
    """
    looks = growing_looks(first, last)
    provable = -np.expm1(np.log(alpha) / last)  # of smaller failures not even `last` hits would be a proof
    possible, found = [float(q) for q in failure if q > provable], []
    if possible:
        law = smooth(observed(k0, np.full(len(k0), n0)), STIFFNESS)
        found = tuned(possible, looks, law, alpha, tolerance)
    found += [Tuned(looks + 1, looks.copy(), 0)] * (len(failure) - len(found))
    return {
        "looks": looks.tolist(),
        "accept": [one.accept.tolist() for one in found],
        "give_up": [*(one.give_up.tolist() for one in found), looks.tolist()],
        "rewards": [one.reward for one in found],
    }


def tuned(failure: Sequence[float], looks: np.ndarray, law: np.ndarray, alpha: float, tolerance: float) -> list[Tuned]:
    """The tests of p0 = 1 - q0 for each q0 in `failure` (decreasing) that take fewest draws together, and each lose at most
    `tolerance` against `REFERENCE` draws of every image.

    law: weights of images on `certflow.stats.deconvolution.GRID`.
    """
    prior = prior_on_atoms(law, failure)
    goals = np.array([reference_power(q0, prior.z, alpha) @ prior.weights for q0 in failure])
    rewards, rules = _best_rewards(Rungs(failure, looks, prior, alpha), goals, tolerance)
    return [
        Tuned(*boundaries(q0, looks, rule, alpha), reward)
        for q0, rule, reward in zip(failure, rules, rewards.tolist(), strict=True)
    ]


def _best_rewards(rungs: Rungs, goals: np.ndarray, tolerance: float) -> tuple[np.ndarray, list[Rule]]:
    """The rewards at which each radius loses what is tolerated, and the rules for them.

    Fewest draws for given losses are a Lagrangian problem with the rewards as multipliers. All are moved at once, by how much
    each radius loses too much or too little.
    """
    rewards, rules, best = np.full(len(goals), FIRST_REWARD), None, None
    for _ in range(ROUNDS):
        rules = rungs.solve(np.exp2(rewards / FINE).tolist(), rules)
        lost = np.maximum((goals - rules[0].held) / tolerance, 0.05)
        key = (round(float(np.maximum(lost - CLOSE, 0.0).sum()), 1), rules[0].draws)
        if best is None or key < best[0]:
            best = key, rewards, rules
        step = np.rint(RESPONSE * FINE * np.log2(lost)).astype(np.int64)
        step = np.where((step == 0) & (lost > CLOSE), 1, step).clip(-LARGEST_STEP, LARGEST_STEP)
        following = (rewards + step).clip(*REWARDS)
        if (following == rewards).all():
            break
        rewards = following
    return best[1], best[2]


def prior_on_atoms(law: np.ndarray, failure: Sequence[float]) -> Prior:
    """The share of images near each atom of a ladder; law: weights on `GRID`.

    None is less than one unit, and all are whole numbers of units: what differs in the last bits of a machine's arithmetic
    does not differ here.
    """
    z, edges = atoms(failure)
    middle = (GRID[1:] + GRID[:-1]) / 2
    upto = np.interp(edges, middle, np.cumsum(law)[:-1], left=0.0, right=1.0)
    weights = np.maximum(np.rint(np.diff(upto) * UNIT), 1.0)
    return Prior(z, weights / weights.sum())


def reference_power(q0: float, z: np.ndarray, alpha: float) -> np.ndarray:
    """float64 [atoms]: how likely an image at each probit z is certified by `REFERENCE` draws; 0 at and below p0."""
    power = certification_power(np.array([q0]), REFERENCE, alpha, special.ndtr(z))[:, 0]
    return np.where(z > -special.ndtri(q0), power, 0.0)
