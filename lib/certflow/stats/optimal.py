"""Ladders of truncated tests that take as few draws as they can: boundaries by backward induction (dynamic programming).

An image's probability p is drawn from a known prior. It climbs a ladder: the rung it stands before asks for p > p0, and each
rung has its p0. At each look one may take the rung, which earns its `reward` (in draws) if p > p0, and stand before the next
one; give up, which ends the image; or draw on to the next look, at a cost of one per draw. Taking a rung costs `penalty`
times the probability of doing so at its p0, and the penalty is set so that this probability is the level (Wald; Arrow,
Blackwell and Girshick 1949 for the induction). Rungs share their draws: an image that goes on to the next rung anyway waits
for this one at no cost. The induction therefore starts at the highest rung, and what is to come after a rung is part of what
it is worth.

It works on a coarse lattice of miss counts (`certflow.stats.lattice`), which costs little power and no validity: what it
decides is only *how the level is spent over the looks*. `boundaries` then takes the smallest whole numbers that spend it so,
by the exact recursion of `certflow.stats.truncated`. Every search runs over whole numbers too (exponents of rewards and
penalties), so that the last bits of a machine's arithmetic hardly ever enter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from scipy import special

from certflow.stats.lattice import Prior, interpolation, path
from certflow.stats.truncated import least_counts, spending

STEPS = 0.005 * 1.5 ** np.arange(17)
"""Distances of the prior's atoms from the z(p0) that they are nearest to, in probits: dense where images are hard to tell from
p0."""
FINE = 8
PENALTIES = (-160, 240)
"""The penalty is reward * 2^(i/`FINE`) for a whole number i in this range."""
FREE = 1.0
"""Draws: a rung is taken at once where its penalty is smaller. Waiting would gain less than the lattice can tell."""
WORTH, DRAWS, HELD = 0, 1, 2
"""Columns of what is to come: worth in draws, draws, and from here on the probability of holding each rung, lowest first."""
T = TypeVar("T")


def growing_looks(first: int, last: int) -> np.ndarray:
    """int64: looks from `first` on, 15 % further each time (whole numbers, rounded down), up to `last`."""
    looks = [min(first, last)]
    while looks[-1] < last:
        looks.append(min(last, looks[-1] + max(1, 3 * looks[-1] // 20)))
    return np.array(looks, np.int64)


def atoms(failure: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(probits of p, edges between them) of the atoms that a prior is put on for a ladder.

    failure: q0 = 1 - p0 of each rung, decreasing. Around each z(p0) atoms lie at the distances `STEPS`, up to half way to the
    next rung.
    """
    rungs = -special.ndtri(np.asarray(failure))
    cuts = [-np.inf, *((low + high) / 2 for low, high in pairwise(rungs)), np.inf]
    around = rungs[:, None] + np.concatenate([-STEPS[::-1], STEPS])
    z = np.concatenate(
        [row[(row > low) & (row <= high)] for row, (low, high) in zip(around, pairwise(cuts), strict=True)]
    )
    return z, np.concatenate([[-np.inf], (z[1:] + z[:-1]) / 2, [np.inf]])


@dataclass(frozen=True)
class Rule:
    """Real-valued thresholds on misses, by look: reject up to `reject`, give up from `give_up` on; and what comes of it."""

    reject: np.ndarray
    give_up: np.ndarray
    size: float
    """Probability of a rejection at p0, if nobody gives up."""
    to_come: list[np.ndarray]
    """float64 [nodes, columns] at each look: see `WORTH`."""
    whole: np.ndarray
    """float64 [columns]: the same before the first draw."""

    @property
    def draws(self) -> float:
        """Mean draws of an image that begins at this rung."""
        return float(self.whole[DRAWS])

    @property
    def held(self) -> np.ndarray:
        """float64 [rungs]: how likely it holds this rung, and each one above (and p > p0)."""
        return self.whole[HELD:]


class Rung:
    """One test of a ladder, p0 = 1 - q0, under a prior. `above`: the next rung, None for the highest."""

    def __init__(self, q0: float, looks: np.ndarray, prior: Prior, above: "Rung | None" = None):
        self.q0 = q0
        self.views, self.steps = path(q0, looks, prior)
        beside = [] if above is None else zip(self.views, above.views, strict=True)
        self.onto = [_onto(mine.nodes, its.nodes) for mine, its in beside]

    def solve(self, reward: float, penalty: float, above: Rule | None = None) -> Rule:
        """The best rule at these prices, given the rule of the rung above."""
        last, size, following = len(self.views) - 1, np.zeros(0), np.zeros(0)
        reject, give_up, found = np.zeros(last + 1), np.zeros(last + 1), []
        for look in range(last, -1, -1):
            view = self.views[look]
            cost = penalty * view.ratio
            taken = self._taken(look, above)
            taken[:, WORTH] += reward * view.above - cost
            on = np.zeros_like(taken)
            if look < last:
                step = self.steps[look + 1]
                on, size = step.ahead @ following + _paid(step.draws, on.shape[1]), step.null @ size
            gain = taken[:, WORTH] - np.maximum(on[:, WORTH], 0.0)
            gain = np.where(view.above > 0.5, np.maximum(gain, FREE - cost), gain)
            share, reject[look] = _crossing(view.nodes, gain)
            give_up[look] = _last_above(view.nodes, np.maximum(taken[:, WORTH], on[:, WORTH]))
            on[on[:, WORTH] <= 0] = 0.0
            following = on + share[:, None] * (taken - on)
            following[:, WORTH] = np.maximum(np.maximum(taken[:, WORTH], on[:, WORTH]), 0.0)
            size = share if look == last else share + (1 - share) * size
            found.append(following)
        first = self.steps[0]
        whole = (first.ahead @ following + _paid(first.draws, following.shape[-1]))[0]
        return Rule(reject, give_up, float((first.null @ size)[0]), found[::-1], whole)

    def _taken(self, look: int, above: Rule | None) -> np.ndarray:
        """What is to come, at each node, once this rung is taken: new float64 [nodes, columns]."""
        view = self.views[look]
        if above is None:
            return np.column_stack([np.zeros((len(view.nodes), HELD)), view.above])
        beyond = self.onto[look] @ above.to_come[look]
        return np.column_stack([beyond[:, :HELD], view.above, beyond[:, HELD:]])

    def priced(self, reward: float, level: float, above: Rule | None = None, guess: int = 0) -> tuple[Rule, int]:
        """The best rule for a reward whose size is at most `level`, and the least i for which the penalty
        reward * 2^(i/`FINE`) brings this about.

        guess: where to look for i first; it does not change the result.
        """

        def rule(i: int) -> Rule:
            return self.solve(reward, reward * 2.0 ** (i / FINE), above)

        return least(rule, lambda one: one.size <= level, PENALTIES, guess)


class Rungs:
    """A ladder to be planned. failure: q0 of each rung, decreasing; level: of each rung's test."""

    def __init__(self, failure: Sequence[float], looks: np.ndarray, prior: Prior, level: float):
        self.level, self.rungs, above = level, [], None
        for q0 in reversed(failure):
            above = Rung(q0, looks, prior, above)
            self.rungs.insert(0, above)
        self._guesses = [0] * len(self.rungs)

    def solve(self, rewards: Sequence[float]) -> list[Rule]:
        """The best rules at these rewards, lowest rung first; the first one's `draws` and `held` are those of the ladder."""
        rules: list[Rule] = []
        for number in reversed(range(len(self.rungs))):
            above = rules[0] if rules else None
            found = self.rungs[number].priced(rewards[number], self.level, above, self._guesses[number])
            rules.insert(0, found[0])
            self._guesses[number] = found[1]
        return rules


def _onto(mine: np.ndarray, its: np.ndarray) -> np.ndarray:
    """float64 [my nodes, its nodes]: interpolation; beyond its last node nothing is to come."""
    return interpolation(mine, its) * (mine <= its[-1])[:, None]


def _paid(draws: int, columns: int) -> np.ndarray:
    """float64 [columns]: what so many draws add to what is to come."""
    return np.array([-draws, draws, *([0.0] * (columns - HELD))], np.float64)


def least(make: Callable[[int], T], good: Callable[[T], bool], bounds: tuple[int, int], guess: int) -> tuple[T, int]:
    """(make(i), i) for the least whole i within `bounds` that is good, by doubling steps from a guess and then bisection.

    Whatever is larger than a good i is taken to be good, and so is the upper bound.
    """
    made: dict[int, T] = {}

    def fits(i: int) -> bool:
        made[i] = make(i)
        return good(made[i])

    low, high, width = bounds[0] - 1, bounds[1], 1
    at = min(max(guess, bounds[0]), bounds[1] - 1)
    while high - low > 1:
        if fits(at):
            high = at
        else:
            low = at
        at = (low + high) // 2
        if high - low > 2 * width:  # one end is still that of the bounds
            at = high - width if low < bounds[0] else low + width
            width *= 2
    return made[high] if high in made else make(high), high


def _crossing(nodes: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, float]:
    """(share rejected at each node, threshold on misses): reject from the left up to where `gain` is positive."""
    good = int(np.flatnonzero(gain > 0)[-1]) + 1 if (gain > 0).any() else 0
    share = (np.arange(len(nodes)) < good).astype(np.float64)
    if good == 0:
        return share, float(nodes[0]) - 1.0
    if good == len(nodes):
        return share, float(nodes[-1])
    part = gain[good - 1] / (gain[good - 1] - gain[good])
    share[good - 1 : good + 1] = min(1.0, part + 0.5), max(0.0, part - 0.5)
    return share, float(nodes[good - 1] + part * (nodes[good] - nodes[good - 1]))


def _last_above(nodes: np.ndarray, value: np.ndarray) -> float:
    """Where `value` falls to 0, from the left; nothing beyond is worth a draw."""
    positive = np.flatnonzero(value > 0)
    if not len(positive):
        return float(nodes[0])
    last = int(positive[-1])
    if last + 1 == len(nodes):
        return float(nodes[-1]) + 1.0
    part = value[last] / (value[last] - value[last + 1]) if value[last + 1] < 0 else 0.5
    return float(nodes[last] + part * (nodes[last + 1] - nodes[last]))


def boundaries(q0: float, looks: np.ndarray, rule: Rule, level: float) -> tuple[np.ndarray, np.ndarray]:
    """(accept, give_up), int64 [looks]: counts of hits from which on p <= p0 is rejected, and up to which it is given up.

    The size of `accept` is at most `level`, exactly (see `certflow.stats.truncated`).
    """
    spent = spending(looks, looks - np.floor(rule.reject).astype(np.int64), q0)
    allowed = level * spent / spent[-1]
    accept = least_counts(looks, allowed, q0)
    give_up = looks - np.ceil(rule.give_up).astype(np.int64)
    give_up = np.minimum(np.maximum(give_up, -1), accept - 1)
    give_up[-1] = looks[-1]
    return accept, give_up
