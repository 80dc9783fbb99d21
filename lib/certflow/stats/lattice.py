"""Counts of misses on a coarse lattice, look by look: what a prior expects of them, and how they go on.

The lattice of a test of p0 = 1 - q0 spans the counts that p0 makes likely, some 120 of them at each look. Between two looks
the misses of a path are a binomial count; here they are gathered into cells and shared between the nearest two nodes. This
costs the tests that are planned on it a little power. It cannot cost validity, which whole counts decide
(`certflow.stats.truncated`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

STEPS = 0.005 * 1.5 ** np.arange(17)
"""Distances of the prior's atoms from the z(p0) that they are nearest to, in probits: dense where images are hard to tell from
p0."""
NODES = 120
"""Lattice points of a look."""
REACH = 8.5
"""The lattice spans so many standard deviations to either side of what p0 would give."""
UNLIKELY = 1e-12
"""Atoms of a smaller posterior probability at every node of a look are left out there."""


@dataclass(frozen=True)
class Prior:
    """The law of the probit of p over images."""

    z: np.ndarray
    """float64 [atoms], increasing: probits of p."""
    weights: np.ndarray
    """float64 [atoms], positive, sum 1."""


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
class View:
    """What the prior makes of a look, at its nodes."""

    nodes: np.ndarray
    """int64 [nodes]: evenly spaced numbers of misses."""
    above: np.ndarray
    """P(p > p0 | misses)."""
    ratio: np.ndarray
    """Likelihood at p0, relative to that under the prior."""
    posterior: np.ndarray
    """float64 [nodes, atoms]."""


@dataclass(frozen=True)
class Step:
    """From one look to the next (or from no draws at all to the first look)."""

    draws: int
    ahead: np.ndarray
    """float64 [nodes, next nodes]: transitions as the prior expects them."""
    null: np.ndarray
    """float64 [nodes, next nodes]: transitions at p0."""


def path(q0: float, looks: np.ndarray, prior: Prior) -> tuple[list[View], list[Step]]:
    """The views of all looks, and the step that leads to each."""
    views = [_view(n, nodes_of(n, q0), q0, prior) for n in looks.tolist()]
    start = View(np.zeros(1, np.int64), np.ones(1), np.ones(1), prior.weights[None])
    counts, q = [0, *looks.tolist()], special.ndtr(-prior.z)
    return views, [
        _step(before, after - before, here, there.nodes, q, q0)
        for before, after, here, there in zip(counts, counts[1:], [start, *views], views, strict=False)
    ]


def nodes_of(n: int, q0: float) -> np.ndarray:
    """int64: the lattice of the misses among n draws."""
    reach = REACH * np.sqrt(n * q0 * (1 - q0)) + 12
    low, high = max(0, int(n * q0 - reach)), min(n, int(n * q0 + reach))
    return np.arange(low, high + 1, max(1, -(-(high - low) // NODES)) | 1)  # an odd spacing: cells are centred on nodes


def interpolation(places: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """float64 [places, nodes]: weights of linear interpolation between evenly spaced nodes, constant beyond the ends."""
    at = np.clip((places - nodes[0]) / _spacing(nodes), 0, len(nodes) - 1)
    left = np.minimum(at.astype(np.int64), max(len(nodes) - 2, 0))
    found, rows = np.zeros((len(places), len(nodes))), np.arange(len(places))
    found[rows, left] = 1 - (at - left)
    found[rows, np.minimum(left + 1, len(nodes) - 1)] += at - left
    return found


def _view(n: int, nodes: np.ndarray, q0: float, prior: Prior) -> View:
    h = nodes[:, None].astype(np.float64)
    joint = np.log(prior.weights) + h * special.log_ndtr(-prior.z) + (n - h) * special.log_ndtr(prior.z)
    total = special.logsumexp(joint, axis=1)
    posterior = np.exp(joint - total[:, None])
    null = nodes * np.log(q0) + (n - nodes) * np.log1p(-q0)
    above = posterior[:, prior.z > -special.ndtri(q0)].sum(axis=1)
    return View(nodes, above, np.exp(np.minimum(null - total, 600.0)), posterior)


def _spacing(nodes: np.ndarray) -> int:
    return int(nodes[1] - nodes[0]) if len(nodes) > 1 else 1


def _step(n: int, draws: int, here: View, there: np.ndarray, q: np.ndarray, q0: float) -> Step:
    """Misses in the step are gathered into cells of one spacing. Cells and interpolation widen their law, which is therefore
    taken so much narrower."""
    spacing = _spacing(here.nodes) if n else _spacing(there)
    reach = 10 * np.sqrt(draws * q0 * (1 - q0)) + 15
    low, high = max(0, int((draws * q0 - reach) / spacing)), int((draws * q0 + reach) / spacing) + 1
    edges = spacing * np.arange(low, high + 2) - spacing // 2 - 1  # the last count below each cell
    likely = here.posterior.max(axis=0) > UNLIKELY
    atoms = np.append(q[likely], q0)[:, None]
    upto = _cdf(edges, draws, atoms, (spacing**2 - 1) / 12 + (_spacing(there) ** 2 - 1) / 6)
    laws = np.concatenate([upto[:, :1], 1 - upto[:, -1:], np.diff(upto, axis=1)], axis=1)
    places = here.nodes[0] + spacing * (low + np.arange(len(here.nodes) + high - low))
    onto = interpolation(places, there)
    ahead = _transitions(here.posterior[:, likely] @ laws[:-1], onto)
    return Step(draws, ahead, _transitions(np.repeat(laws[-1:], len(here.nodes), axis=0), onto))


def _transitions(laws: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """float64 [nodes, next nodes] of laws [nodes, 2 + offsets]: probability, from each node, of fewer misses than are told
    apart, of more, and of each offset in steps of the spacing. What leaves the lattice stays at its ends."""
    nodes, offsets = len(laws), laws.shape[1] - 2
    band = np.zeros((nodes, nodes + offsets))
    band[:, :offsets] = laws[:, 2:]
    shifted = band.reshape(-1)[: nodes * (nodes + offsets - 1)].reshape(nodes, nodes + offsets - 1)
    found = shifted @ onto
    found[:, 0] += laws[:, 0]
    found[:, -1] += laws[:, 1]
    return found


def _cdf(x: np.ndarray, n: int, q: np.ndarray, narrower: float) -> np.ndarray:
    """P(Bin(n, q) <= x), by the normal approximation of a variance that is smaller by `narrower` where that is good."""
    x, q = np.broadcast_arrays(x, q)
    variance = n * q * (1 - q)
    rough = special.ndtr((x + 0.5 - n * q) / np.sqrt(np.maximum(variance - narrower, 0.25 * variance + 1e-300)))
    exact = variance < 100
    rough[exact] = special.betainc(n - x[exact], x[exact] + 1.0, 1 - q[exact])
    return np.where(x < 0, 0.0, np.where(x >= n, 1.0, rough))
