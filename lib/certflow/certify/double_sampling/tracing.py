"""Radii by sphere tracing: sound whether or not the dual falls with the radius.

C(r) bounds the probability of the class at every point at distance r. Neyman-Pearson applied at such a point covers the next
R_NP(C(r)); so r_0 = R_NP(pL), r_{i+1} = r_i + R_NP(C(r_i)) covers a whole ball by induction, and every r_i is a certificate.
The iterates rise to the first radius at which C is 1/2. A search that jumps could land beyond a dip of C: for lambda2 < 0 C
need not fall with r. Each radius rests on all before it, so that what quadrature may err is taken off at every one.
"""

from dataclasses import dataclass

import numpy as np

from certflow.noise.radii.spherical.half_table import HalfTable

MOST_STEPS = 400
FINER = (1.5, 3, 6, 12)
"""Nodes of the rules that a dual is compared by, as multiples of the usual number."""
AGREED = 1e-9
"""Two rules that differ by no more are believed. On published images they differ by 2e-10 at most. Where the integrand has
steps that the nodes do not resolve (radii of 1e-3 sigma, laws that are almost the same) they differ by 1e-4, and by chance by
less than either errs."""


@dataclass
class Traced:
    """Radii of a block of images, in units of sigma, with how they were found. All arrays [images]."""

    radius: np.ndarray
    dual: np.ndarray
    """Lower bound of the dual at that radius: >= 1/2 certifies."""
    evaluations: np.ndarray
    converged: np.ndarray
    case: np.ndarray


def trace(dual, table: HalfTable, start: np.ndarray, tol: float) -> Traced:
    """Trace every image from its Neyman-Pearson radius `start` (> 0), until a step is below 2 tol.

    dual: `TruncatedDual` or `ScaledDual` of the block. The radius returned is the last one whose dual was computed.
    """
    count = len(start)
    found = Traced(
        start.copy(),
        np.full(count, 0.5),
        np.zeros(count, np.int64),
        np.ones(count, bool),
        np.full(count, "naive", "<U8"),
    )
    rows = np.flatnonzero(dual.begin(start, table.level(start)))
    found.case[rows] = dual.case(rows)
    radius = start.copy()
    for _ in range(MOST_STEPS):
        if len(rows) == 0:
            break
        value, evaluations = sure(dual, rows, radius[rows])
        found.evaluations[rows] += evaluations
        holds = value > 0.5
        good = rows[holds]
        found.radius[good], found.dual[good], found.case[good] = radius[good], value[holds], dual.case(good)
        step = table.radius(1 - value[holds])
        further = step >= 2 * tol
        rows = good[further]
        radius[rows] += step[further]
    found.converged[rows] = False
    return found


def sure(dual, rows: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dual at radii r less twice what a finer rule changes, 0 where that is known to be too little or no two rules agree;
    and how often the dual was computed. Both [rows]."""
    before = dual.bound(rows, r)
    value, evaluations = np.zeros(len(rows)), np.ones(len(rows), np.int64)
    going = np.flatnonzero(before > 0.5)
    for times in FINER:
        if len(going) == 0:
            break
        now = dual.finer(rows[going], r[going], times)
        evaluations[going] += 1
        change = np.abs(now - before[going])
        agree = change <= AGREED
        value[going[agree]] = (now - 2 * change)[agree]
        before[going] = now
        going = going[~agree & (now + change > 0.5)]
    return value, evaluations
