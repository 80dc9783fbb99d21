"""Radii from counts under two laws: confidence intervals, the second law of every image, and the pooled images."""

import numpy as np

from certflow.certify.bounds import guarded
from certflow.certify.double_sampling.feasible import overlap
from certflow.certify.double_sampling.radius import dsrs_radius
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

FEW_DRAWS, LITTLE_OVERLAP = 1000, 0.01
Counted = tuple[np.ndarray, np.ndarray]
"""Hits and draws, int64 [images] each."""


def lower(counted: Counted, level: float) -> np.ndarray:
    """Lower bounds on the hit probability, rounded down; 0 without draws."""
    return _bounds(clopper_pearson_lower, counted, level, nothing=0.0) * (1 - 1e-15)


def upper(counted: Counted, level: float) -> np.ndarray:
    """Upper bounds on the hit probability, rounded up; 1 without draws."""
    return np.minimum(_bounds(clopper_pearson_upper, counted, level, nothing=1.0) * (1 + 1e-15), 1.0)


def double_radius(
    p: Counted, q: Counted, q_kind, q_param, alpha: float, levels, pooled: str, *, dim: int, k: int, sigma: float
) -> dict[str, np.ndarray]:
    """Radii of all images, in the order given: `dsrs_radius` of the intervals that the counts allow, [images] each.

    q_kind: text [images], `scaled`, `truncated` or `pooled`; q_param: float [images], Q's sigma over the noise's or the ball's
    percentile. alpha: failure probability of all bounds together; levels: of pa_low, pa_high, qa_low, qa_high. pooled: see
    certificate kind `dsrs`. Images without draws have radius 0 and the status `abstain`.
    """
    same = q_kind == "pooled"
    out = {
        "pa_low": lower(p, levels[0]),
        "pa_high": upper(p, levels[1]),
        "qa_low": np.where(same, 0.0, lower(q, levels[2])),
        "qa_high": np.where(same, 1.0, upper(q, levels[3])),
    }
    if same.any():
        rows = (p[0][same], p[1][same]), (q[0][same], q[1][same])
        out["pa_low"][same], out["pa_high"][same] = pooled_bounds(*rows, alpha, levels, pooled)
    found = {
        "radius": np.zeros(len(same)),
        "radius_np": np.zeros(len(same)),
        "case": np.full(len(same), "naive", "<U8"),
        "status": np.full(len(same), "abstain", "<U10"),
    }
    for kind in np.unique(q_kind):
        rows = np.flatnonzero(q_kind == kind)
        parameter = q_param[rows] * sigma if kind == "scaled" else q_param[rows]
        pa_low, pa_high, qa_low, qa_high = (bound[rows] for bound in out.values())
        part = dsrs_radius(pa_low, pa_high, qa_low, qa_high, dim, k, sigma, str(kind), parameter)
        for name in found:
            found[name][rows] = part[name]
    return {**out, **found}


def remarks(status, q_kind, q_param, n_q, a: float) -> list[str]:
    """What a person should look at in the results of many images: nothing that makes a radius wrong. a = d/2 - k."""
    found, share = [], float((status == "infeasible").mean()) if len(status) else 0.0
    if share > 0.01:
        found.append(
            f"{share:.1%} of the images have counts that no classifier makes under both laws; by chance that is rarer than "
            "alpha. Were both made with the sigma and k that are stated?"
        )
    scaled = q_kind == "scaled"
    if scaled.any() and overlap(a, 1 / q_param[scaled]).min() < LITTLE_OVERLAP:
        found.append(
            f"the second law overlaps the noise by less than {LITTLE_OVERLAP:g}; a ratio nearer to 1 tells more"
        )
    if ((q_kind != "pooled") & (n_q > 0) & (n_q < FEW_DRAWS)).any():
        found.append(f"fewer than {FEW_DRAWS} draws under the second law: its interval is wide and adds little")
    return found


def pooled_bounds(p: Counted, q: Counted, alpha: float, levels, pooled: str) -> Counted:
    """Bounds on P's hit probability of images whose n_q further draws `q` came from P too.

    Without further draws the pooling was planned before stage 2, and the lower bound has all of alpha.
    """
    planned = q[1] == 0
    together = p[0] + q[0], p[1] + q[1]
    if pooled == "peer":
        low, high = lower(together, alpha / 2), upper(together, alpha / 2)
    elif pooled == "strict":
        low, high = np.maximum(lower(p, levels[0]), lower(q, levels[2])), np.ones(len(planned))
    else:
        low, high = lower(p, levels[0]), np.ones(len(planned))
    return np.where(planned, lower(p, alpha), low), np.where(planned, 1.0, high)


def _bounds(bound, counted: Counted, level: float, nothing: float) -> np.ndarray:
    hits, draws = counted
    some = draws > 0
    out = np.full(len(hits), nothing)
    if some.any():
        out[some] = bound(hits[some], draws[some], guarded(level, draws[some]))
    return out
