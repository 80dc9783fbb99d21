"""Ladders of truncated tests that take as few draws as they can: boundaries by backward induction (dynamic programming).

An image's probability p is drawn from a known prior. It climbs a ladder: the rung it stands before asks for p > p0, and each
rung has its p0. At each look one may take the rung, which earns its `reward` (in draws) if p > p0, and stand before the next
one; give up, which ends the image; or draw on to the next look, at a cost of one per draw. Taking a rung costs `penalty`
times the probability of doing so at its p0, and the penalty is set so that this probability is the level (Wald; Arrow,
Blackwell and Girshick 1949 for the induction). Rungs share their draws: an image that goes on to the next rung anyway waits
for this one at no cost. The induction therefore starts at the highest rung, and what is to come after a rung is part of what
it is worth.

The level is kept even by those who never give up (`certflow.stats.truncated`). The penalty is therefore paid for all paths of
p0 that reach a node, also for those that were given up before and cannot earn anything there. Late looks have many such paths,
and are dear: `Rung.hidden` tells how many there are for each path that is still drawn. It follows from an earlier solution.

It works on a coarse lattice of miss counts (`certflow.stats.lattice`), which costs little power and no validity: what it
decides is only *how the level is spent over the looks*. `boundaries` then takes the smallest whole numbers that spend it so,
by the exact recursion of `certflow.stats.truncated`. Every search runs over whole numbers too (exponents of rewards and
penalties), so that the last bits of a machine's arithmetic hardly ever enter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certflow.stats.crossing import crossing, last_above, least
from certflow.stats.lattice import Prior, interpolation, path
from certflow.stats.truncated import least_counts, spending

FINE = 8
PENALTIES = (-160, 240)
"""The penalty is reward * 2^(i/`FINE`) for a whole number i in this range."""
FREE = 1.0
"""Draws: a rung is taken at once where its penalty is smaller. Waiting would gain less than the lattice can tell."""
MOST_HIDDEN = 1000.0
"""Nodes that hardly any path reaches are not told apart."""
WORTH, DRAWS, HELD = 0, 1, 2
"""Columns of what is to come: worth in draws, draws, and from here on the probability of holding each rung, lowest first."""


def growing_looks(first: int, last: int) -> np.ndarray:
    """int64: looks from `first` on, 15 % further each time (whole numbers, rounded down), up to `last`."""
    looks = [min(first, last)]
    while looks[-1] < last:
        looks.append(min(last, looks[-1] + max(1, 3 * looks[-1] // 20)))
    return np.array(looks, np.int64)


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
    stay: list[np.ndarray]
    """float64 [2, nodes] at each look: share of the paths that are not rejected; of those, also not given up."""
    penalty: int
    """The exponent in `PENALTIES` that it was made for."""

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

    def hidden(self, rule: Rule | None) -> list[np.ndarray]:
        """float64 [nodes] at each look: how many paths of p0 come there without a rejection, for each one of them that is
        not given up by `rule`; without a rule 1."""
        if rule is None:
            return [np.ones(len(view.nodes)) for view in self.views]
        masses, found = np.ones((2, 1)), []
        for step, stay in zip(self.steps, rule.stay, strict=True):
            masses = masses @ step.null
            found.append(np.clip(masses[0] / np.maximum(masses[1], 1e-300), 1.0, MOST_HIDDEN))
            masses = masses * stay
        return found

    def solve(
        self, reward: float, penalty: int, above: Rule | None = None, hidden: list[np.ndarray] | None = None
    ) -> Rule:
        """The best rule at this reward and the penalty reward * 2^(penalty/`FINE`), given the rule of the rung above.

        hidden: see the method of that name; without it, nobody is taken to be given up.
        """
        hidden = hidden or self.hidden(None)
        size, following = np.zeros(len(self.views[-1].nodes)), np.zeros(0)
        reject, give_up, found, stay = np.empty(len(self.views)), np.empty(len(self.views)), [], []
        for look in range(len(self.views) - 1, -1, -1):
            view = self.views[look]
            taken = self._taken(look, above)
            taken[:, WORTH] += reward * view.above
            on = np.zeros_like(taken)
            if found:
                step = self.steps[look + 1]
                on, size = step.ahead @ following + _paid(step.draws, on.shape[1]), step.null @ size
            cost = reward * 2.0 ** (penalty / FINE) * view.ratio * hidden[look] * (1 - size)
            gain = taken[:, WORTH] - np.maximum(on[:, WORTH], 0.0) - cost
            gain = np.where(view.above > 0.5, np.maximum(gain, FREE - cost), gain)
            share, reject[look] = crossing(view.nodes, gain)
            give_up[look] = last_above(view.nodes, np.maximum(gain, on[:, WORTH]))
            going = on[:, WORTH] > 0
            on[~going] = 0.0
            following = on + share[:, None] * (taken - on)
            size = share + (1 - share) * size
            found.append(following)
            stay.append((1 - share) * np.stack([np.ones(len(share)), going]))
        first = self.steps[0]
        whole = (first.ahead @ following + _paid(first.draws, following.shape[-1]))[0]
        return Rule(reject, give_up, float((first.null @ size)[0]), found[::-1], whole, stay[::-1], penalty)

    def _taken(self, look: int, above: Rule | None) -> np.ndarray:
        """What is to come, at each node, once this rung is taken: new float64 [nodes, columns]."""
        view = self.views[look]
        if above is None:
            return np.column_stack([np.zeros((len(view.nodes), HELD)), view.above])
        beyond = self.onto[look] @ above.to_come[look]
        return np.column_stack([beyond[:, :HELD], view.above, beyond[:, HELD:]])

    def priced(self, reward: float, level: float, above: Rule | None = None, before: Rule | None = None) -> Rule:
        """The best rule for a reward whose size is at most `level`, at the least penalty that brings this about.

        before: an earlier solution for other rewards, from which the hidden paths are taken, and where to look for the penalty
        first.
        """
        hidden = self.hidden(before)

        def rule(penalty: int) -> Rule:
            return self.solve(reward, penalty, above, hidden)

        return least(rule, lambda one: one.size <= level, PENALTIES, before.penalty if before else 0)[0]


class Rungs:
    """A ladder to be planned. failure: q0 of each rung, decreasing; level: of each rung's test."""

    def __init__(self, failure: Sequence[float], looks: np.ndarray, prior: Prior, level: float):
        self.level, self.rungs, above = level, [], None
        for q0 in reversed(failure):
            above = Rung(q0, looks, prior, above)
            self.rungs.insert(0, above)

    def solve(self, rewards: Sequence[float], before: Sequence[Rule] | None = None) -> list[Rule]:
        """The best rules at these rewards, lowest rung first; the first one's `draws` and `held` are those of the ladder.

        before: the rules for other rewards. One solution after the other, the hidden paths come to belong to the rules.
        """
        rules: list[Rule] = []
        for number in reversed(range(len(self.rungs))):
            above = rules[0] if rules else None
            earlier = before[number] if before else None
            rules.insert(0, self.rungs[number].priced(rewards[number], self.level, above, earlier))
        return rules


def _onto(mine: np.ndarray, its: np.ndarray) -> np.ndarray:
    """float64 [my nodes, its nodes]: interpolation; beyond its last node nothing is to come."""
    return interpolation(mine, its) * (mine <= its[-1])[:, None]


def _paid(draws: int, columns: int) -> np.ndarray:
    """float64 [columns]: what so many draws add to what is to come."""
    return np.array([-draws, draws, *([0.0] * (columns - HELD))], np.float64)


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
