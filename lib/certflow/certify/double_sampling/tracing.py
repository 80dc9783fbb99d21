"""Radii by sphere tracing: sound whether or not the dual falls with the radius.

C(r) bounds the probability of the class at every point at distance r. Neyman-Pearson applied at such a point covers the next
R_NP(C(r)); so r_0 = R_NP(pL), r_{i+1} = r_i + R_NP(C(r_i)) covers a whole ball by induction, and every r_i is a certificate.
The iterates rise to the first radius at which C is 1/2. A search that jumps could land beyond a dip of C: for lambda2 < 0 C
need not fall with r.
"""

from dataclasses import dataclass

import numpy as np

from certflow.noise.radii.spherical.half_table import HalfTable

MOST_STEPS = 400
BACK = 1e-6
"""First step back, in units of sigma, of a radius whose certificate does not survive finer quadrature."""


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

    dual: `TruncatedDual` or `ScaledDual` of the block. The radius returned is the last one whose dual was computed, and the
    dual is computed there once more with half as many nodes again; twice the difference counts as error.
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
    radius, at, moved = start.copy(), start.copy(), []
    for _ in range(MOST_STEPS):
        if len(rows) == 0:
            break
        value, at[rows] = dual.bound(rows, radius[rows]), radius[rows]
        found.evaluations[rows] += 1
        holds = value > 0.5
        good = rows[holds]
        found.radius[good], found.dual[good], found.case[good] = radius[good], value[holds], dual.case(good)
        step = table.radius(1 - value[holds])
        moved.append(good)
        rows = good[step >= 2 * tol]
        radius[rows] += step[step >= 2 * tol]
    found.converged[rows] = False
    kept = np.unique(np.concatenate(moved)) if moved else rows[:0]
    if len(kept):
        _confirm(dual, kept, at, start, found)
    return found


def _confirm(dual, rows: np.ndarray, at: np.ndarray, start: np.ndarray, found: Traced) -> None:
    """Lower the radii (down to `start`) until the dual minus twice what finer quadrature changes is at least 1/2.

    at: [images], the radius that the dual's multipliers belong to; where it is the one found they need not be sought again.
    """
    coarse = found.dual.copy()
    for attempt in range(8):
        again = rows[at[rows] != found.radius[rows]]
        if len(again):
            coarse[again], at[again] = dual.bound(again, found.radius[again]), found.radius[again]
            found.evaluations[again] += 1
        fine = dual.finer(rows, found.radius[rows])
        sure = fine - 2 * np.abs(fine - coarse[rows])
        found.evaluations[rows] += 1
        found.dual[rows] = sure
        rows = rows[~(sure >= 0.5)]
        if len(rows) == 0:
            return
        found.radius[rows] = np.maximum(found.radius[rows] - BACK * 4.0**attempt, start[rows])
    found.radius[rows], found.dual[rows], found.case[rows] = start[rows], 0.5, "naive"
