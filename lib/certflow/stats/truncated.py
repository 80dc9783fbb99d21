"""Tests of "p is at most p0" that look at the count at stated moments only, with their exact size.

A test is a list of looks n_1 < n_2 < ... and of counts a_1, a_2, ...: it rejects p <= p0 at the first look at which the hits
k_j among n_j draws reach a_j. Its size at p is the probability that this ever happens, if one draws on to the last look.

**Giving up changes nothing.** Whoever stops earlier without a rejection, for whatever reason, rejects on fewer paths. Sizes
here therefore ignore every rule for giving up (non-binding futility): no such rule can make a claim wrong more often.

**Acceptance is monotone in p.** Let p <= p'. Draw u_1, u_2, ... uniform on (0, 1) and call draw i a hit under p where u_i < p,
under p' where u_i < p'. Every hit under p is one under p', so k_j <= k'_j at all looks at once, and a path that reaches some
a_j under p reaches it under p' too. Both sequences have their right laws. Hence P_p(reject) <= P_p'(reject), and the largest
size over all p <= p0 is the one at p0: the number that `size` computes.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, special

GUARD = 1e-6
"""Share of a level that is never spent. Rounding moves a size by under 1e-9 of itself (64 looks up to 400,000 draws)."""
DEVIATIONS, MORE = 9.5, 60
"""A binomial law is kept within so many standard deviations, and so many counts, of its mean; outside lies less than 1e-18."""
NEGLIGIBLE = 1e-17
"""Probability that is left out at one look, and counted as a rejection."""


@dataclass(frozen=True)
class Walk:
    """The law of the misses after some draws, on paths that have not been rejected so far."""

    start: int
    """Misses that the first entry of `mass` belongs to; fewer misses mean that the path was rejected before."""
    mass: np.ndarray
    """float64 [counts]: probability of each number of misses."""
    spent: float = 0.0
    """Probability of all paths that were rejected, or left out because they are negligible."""

    def on(self, draws: int, q0: float) -> "Walk":
        """After further draws, each a miss with probability q0."""
        low, law = _binomial(draws, q0)
        mass = np.maximum(_convolved(self.mass, law), 0.0)
        above = np.cumsum(mass[::-1])[::-1]
        kept = max(1, int(np.searchsorted(-above, -NEGLIGIBLE)))
        return Walk(self.start + low, mass[:kept], self.spent + float(mass[kept:].sum()) + NEGLIGIBLE)

    def reject(self, misses: int) -> "Walk":
        """Without the paths of at most so many misses, which are rejected now."""
        cut = min(max(misses + 1 - self.start, 0), len(self.mass))
        return replace(
            self, start=self.start + cut, mass=self.mass[cut:], spent=self.spent + float(self.mass[:cut].sum())
        )


def _binomial(n: int, q: float) -> tuple[int, np.ndarray]:
    """(first count, probabilities from there on) of Bin(n, q), as far as they matter."""
    reach = DEVIATIONS * np.sqrt(n * q * (1 - q)) + MORE
    low, high = max(0, int(n * q - reach)), min(n, int(n * q + reach) + 1)
    x = np.arange(low, high + 1)
    ways = special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(n - x + 1)
    law = np.exp(ways + special.xlogy(x, q) + special.xlog1py(n - x, -q))
    return low, law / law.sum()


def _convolved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    full = len(one) + len(other) - 1
    length = fft.next_fast_len(full, real=True)
    return fft.irfft(fft.rfft(one, length) * fft.rfft(other, length), length)[:full]


def spending(looks: np.ndarray, accept: np.ndarray, q0: float) -> np.ndarray:
    """float64 [looks]: probability, at p0 = 1 - q0, of a rejection at or before each look. It errs upwards, by some 1e-17 each.

    looks: int64, increasing; accept: int64 [looks], the counts of hits from which on the test rejects (more than n: never).
    Forward recursion of the exact law of the count; about a millisecond per look up to 400,000 draws.
    """
    walk, before, spent = Walk(0, np.ones(1)), 0, []
    for n, misses in zip(looks.tolist(), (looks - accept).tolist(), strict=True):
        walk, before = walk.on(n - before, q0).reject(misses) if len(walk.mass) else walk, n
        spent.append(walk.spent)
    return np.array(spent)


def size(looks: np.ndarray, accept: np.ndarray, q0: float) -> float:
    """The exact size of a test: the largest probability of a rejection under any p <= p0 = 1 - q0. See `spending`."""
    return float(spending(looks, accept, q0)[-1])


def least_counts(looks: np.ndarray, allowed: np.ndarray, q0: float) -> np.ndarray:
    """int64 [looks]: the smallest counts of hits at which a test may reject whose `spending` stays at or below `allowed`.

    allowed: float64 [looks], not decreasing; its last entry is the level (error spending; Lan and DeMets 1983). What whole
    numbers leave unspent at a look is there to be spent at later ones. `GUARD` of it is never spent.
    """
    walk, before, accept = Walk(0, np.ones(1)), 0, []
    for n, level in zip(looks.tolist(), (allowed * (1 - GUARD)).tolist(), strict=True):
        walk, before = walk.on(n - before, q0), n
        below = int(np.searchsorted(walk.spent + np.cumsum(walk.mass), level, side="right"))
        accept.append(n - (walk.start + below - 1))
        walk = walk.reject(walk.start + below - 1)
    return np.array(accept, np.int64)
