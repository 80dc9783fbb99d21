"""Truncated tests that take as few draws as they can: boundaries by backward induction (dynamic programming).

An image's probability p is drawn from a known prior. At each look one may reject "p <= p0", which earns `reward` (in draws)
if p > p0; give up, which earns nothing; or draw on to the next look, at a cost of one per draw. Rejecting costs `penalty`
times the probability of doing so at p0, and the penalty is set so that this probability is the level (Wald; Arrow, Blackwell
and Girshick 1949 for the induction).

The induction works on a coarse lattice of miss counts, which costs little power and no validity: what it decides is only *how
the level is spent over the looks*. `boundaries` then takes the smallest whole numbers that spend it so, by the exact recursion
of `certflow.stats.truncated`. The result is whole numbers, and every search on the way runs over whole numbers too
(exponents of rewards and penalties), so that the last bits of a machine's arithmetic do not enter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
from scipy import special

from certflow.stats.truncated import least_counts, spending

NODES = 120
"""Lattice points of a look."""
REACH = 8.5
"""The lattice spans so many standard deviations to either side of what p0 would give."""
STEPS = 0.005 * 1.5 ** np.arange(17)
"""Distances of the prior's atoms from z(p0), in probits: dense where images are hard to tell from p0."""
FINE = 8
PENALTIES = (-160, 240)
"""The penalty is reward * 2^(i/`FINE`) for a whole number i in this range."""
T = TypeVar("T")


def growing_looks(first: int, last: int) -> np.ndarray:
    """int64: looks from `first` on, 15 % further each time (whole numbers, rounded down), up to `last`."""
    looks = [min(first, last)]
    while looks[-1] < last:
        looks.append(min(last, looks[-1] + max(1, 3 * looks[-1] // 20)))
    return np.array(looks, np.int64)


def atoms(q0: float) -> tuple[np.ndarray, np.ndarray]:
    """(probits of p, edges between them) of the atoms that a prior is put on for a test of p0 = 1 - q0: [34] and [35]."""
    z = -special.ndtri(q0) + np.concatenate([-STEPS[::-1], STEPS])
    middle = (z[1:] + z[:-1]) / 2
    return z, np.concatenate([[-np.inf], middle, [np.inf]])


@dataclass(frozen=True)
class Step:
    """From one look, whose `nodes` (evenly spaced misses) are known, to the next."""

    n: int
    nodes: np.ndarray
    draws: int
    """Until the next look."""
    laws: np.ndarray
    """float64 [atoms + 1, 2 + offsets]: under each atom, and last at p0, the law of the misses in this step: probability of
    fewer than are told apart, of more, and of each offset in steps of the spacing."""
    onto: np.ndarray
    """float64 [nodes + offsets - 1, next nodes]: interpolation from the next look's nodes to where the offsets lead."""
    null: np.ndarray
    """float64 [nodes, next nodes]: transitions at p0."""

    def transitions(self, laws: np.ndarray) -> np.ndarray:
        """float64 [nodes, next nodes] of laws [nodes, 2 + offsets]; what leaves the lattice stays at its ends."""
        nodes, offsets = len(self.nodes), laws.shape[1] - 2
        band = np.zeros((nodes, nodes + offsets))
        band[:, :offsets] = laws[:, 2:]
        shifted = band.reshape(-1)[: nodes * (nodes + offsets - 1)].reshape(nodes, nodes + offsets - 1)
        found = shifted @ self.onto
        found[:, 0] += laws[:, 0]
        found[:, -1] += laws[:, 1]
        return found


def _nodes(n: int, q0: float) -> np.ndarray:
    reach = REACH * np.sqrt(n * q0 * (1 - q0)) + 12
    low, high = max(0, int(n * q0 - reach)), min(n, int(n * q0 + reach))
    return np.arange(low, high + 1, max(1, -(-(high - low) // NODES)) | 1)  # an odd spacing: cells are centred on nodes


@lru_cache(maxsize=16)
def steps(q0: float, looks: tuple[int, ...]) -> tuple[Step, ...]:
    """The steps from no draws at all to the first look, from there to the second, and so on to the last."""
    q = np.append(special.ndtr(-atoms(q0)[0]), q0)
    counts = [0, *looks]
    lattice = [np.zeros(1, np.int64), *(_nodes(n, q0) for n in looks)]
    return tuple(
        _step(n, following - n, q, q0, here, there)
        for n, following, here, there in zip(counts, counts[1:], lattice, lattice[1:], strict=False)
    )


def _spacing(nodes: np.ndarray) -> int:
    return int(nodes[1] - nodes[0]) if len(nodes) > 1 else 1


def _step(n: int, draws: int, q: np.ndarray, q0: float, here: np.ndarray, there: np.ndarray) -> Step:
    """Misses in the step are gathered into cells of one spacing. Cells and interpolation widen their law, which is therefore
    taken so much narrower."""
    spacing = _spacing(here) if n else _spacing(there)
    reach = 10 * np.sqrt(draws * q0 * (1 - q0)) + 15
    low, high = max(0, int((draws * q0 - reach) / spacing)), int((draws * q0 + reach) / spacing) + 1
    edges = spacing * np.arange(low, high + 2) - spacing // 2 - 1  # the last count below each cell
    upto = _cdf(edges, draws, q[:, None], (spacing**2 - 1) / 12 + (_spacing(there) ** 2 - 1) / 6)
    laws = np.concatenate([upto[:, :1], 1 - upto[:, -1:], np.diff(upto, axis=1)], axis=1)
    places = here[0] + spacing * (low + np.arange(len(here) + high - low))
    found = Step(n, here, draws, laws, _interpolation(places, there), np.zeros(0))
    return replace(found, null=found.transitions(np.repeat(laws[-1:], len(here), axis=0)))


def _interpolation(places: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """float64 [places, nodes]: weights of linear interpolation, constant beyond the ends."""
    at = np.clip((places - nodes[0]) / _spacing(nodes), 0, len(nodes) - 1)
    left = np.minimum(at.astype(np.int64), max(len(nodes) - 2, 0))
    found, rows = np.zeros((len(places), len(nodes))), np.arange(len(places))
    found[rows, left] = 1 - (at - left)
    found[rows, np.minimum(left + 1, len(nodes) - 1)] += at - left
    return found


def _cdf(x: np.ndarray, n: int, q: np.ndarray, narrower: float) -> np.ndarray:
    """P(Bin(n, q) <= x), by the normal approximation of a variance that is smaller by `narrower` where that is good."""
    x, q = np.broadcast_arrays(x, q)
    variance = n * q * (1 - q)
    rough = special.ndtr((x + 0.5 - n * q) / np.sqrt(np.maximum(variance - narrower, 0.25 * variance + 1e-300)))
    exact = (variance < 100) & (x >= 0) & (x < n)
    rough[exact] = special.betainc(n - x[exact], x[exact] + 1.0, 1 - q[exact])
    return np.where(x < 0, 0.0, np.where(x >= n, 1.0, rough))


@dataclass(frozen=True)
class Rule:
    """Real-valued thresholds on misses, by look: reject up to `reject`, give up from `give_up` on; and what comes of it."""

    reject: np.ndarray
    give_up: np.ndarray
    size: float
    """Probability of a rejection at p0, if nobody gives up."""
    power: float
    """Probability of p > p0 and a rejection."""


@dataclass(frozen=True)
class _View:
    """What the prior makes of a look, at its nodes."""

    nodes: np.ndarray
    above: np.ndarray
    """P(p > p0 | misses)."""
    ratio: np.ndarray
    """Likelihood at p0, relative to that under the prior."""
    posterior: np.ndarray
    """float64 [nodes, atoms]."""


@dataclass(frozen=True)
class Problem:
    """One test to be planned: p0 = 1 - q0, the looks, and the prior's weights (float64 [atoms], see `atoms`)."""

    q0: float
    looks: tuple[int, ...]
    weights: tuple[float, ...]

    @cached_property
    def _views(self) -> list[_View]:
        return [self._view(n, _nodes(n, self.q0)) for n in self.looks]

    @cached_property
    def _ahead(self) -> list[np.ndarray]:
        """Predictive transitions from each look to the next; the first entry leads from no draws to the first look."""
        first = np.array([self.weights])
        return [
            step.transitions(posterior @ step.laws[:-1])
            for step, posterior in zip(
                steps(self.q0, self.looks), [first, *(view.posterior for view in self._views[:-1])], strict=True
            )
        ]

    def _view(self, n: int, nodes: np.ndarray) -> _View:
        z, _ = atoms(self.q0)
        h = nodes[:, None].astype(np.float64)
        joint = np.log(self.weights) + h * special.log_ndtr(-z) + (n - h) * special.log_ndtr(z)
        total = special.logsumexp(joint, axis=1)
        posterior = np.exp(joint - total[:, None])
        null = nodes * np.log(self.q0) + (n - nodes) * np.log1p(-self.q0)
        above = posterior[:, z > -special.ndtri(self.q0)].sum(axis=1)
        return _View(nodes, above, np.exp(np.minimum(null - total, 600.0)), posterior)

    def solve(self, reward: float, penalty: float) -> Rule:
        """The best rule at these prices."""
        path, last = steps(self.q0, self.looks), len(self.looks) - 1
        reject, give_up = np.zeros(last + 1), np.zeros(last + 1)
        worth = size = power = on = np.zeros(len(self._views[last].nodes))
        for look in range(last, -1, -1):
            view = self._views[look]
            if look < last:
                on = self._ahead[look + 1] @ worth - path[look + 1].draws
                size = path[look + 1].null @ size
                power = np.where(on > 0, self._ahead[look + 1] @ power, 0.0)
            now = reward * view.above - penalty * view.ratio
            share, reject[look] = _crossing(view.nodes, now - np.maximum(on, 0.0))
            worth = np.maximum(np.maximum(now, on), 0.0)
            give_up[look] = _last_above(view.nodes, np.maximum(now, on))
            size, power = share + (1 - share) * size, share * view.above + (1 - share) * power
        return Rule(reject, give_up, float((path[0].null @ size)[0]), float((self._ahead[0] @ power)[0]))

    def priced(self, reward: float, level: float, guess: int = 0) -> tuple[Rule, int]:
        """The best rule for a reward whose size is at most `level`, and the least i for which the penalty
        reward * 2^(i/`FINE`) brings this about.

        guess: where to look for i first; it does not change the result.
        """

        def rule(i: int) -> Rule:
            return self.solve(reward, reward * 2.0 ** (i / FINE))

        return least(rule, lambda one: one.size <= level, PENALTIES, guess)


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
        one_sided = (low < bounds[0]) != (high == bounds[1])
        at = (low + high) // 2
        if one_sided and high - low > 2 * width:
            at = high - width if low < bounds[0] else low + width
            width *= 2
    return made[high] if high in made else make(high), high


def _crossing(nodes: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, float]:
    """(share rejected at each node, threshold on misses): reject from the left as far as `gain` is positive."""
    good = int(np.argmin(gain > 0)) if not (gain > 0).all() else len(gain)
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
