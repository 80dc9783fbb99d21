"""Certified l2 radii of generalised Gaussian noise, from probabilities alone: Neyman-Pearson and double sampling.

Everything is proportional to sigma and computed for sigma = 1. Sources: Yang et al. 2020 (Randomized Smoothing of All Shapes
and Sizes) for the noise, Li et al. 2022 (Double Sampling Randomized Smoothing) for the second distribution.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.certify.double_sampling.arguments import probabilities, q_parameters
from certflow.certify.double_sampling.feasible import feasible_scaled, feasible_truncated, overlap
from certflow.certify.double_sampling.scaled import ScaledDual
from certflow.certify.double_sampling.tracing import trace
from certflow.certify.double_sampling.truncated import TruncatedDual
from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian
from certflow.noise.radii import shift_of
from certflow.noise.radii.checks import RADIUS_GUARD, checked_dimension, checked_sigma
from certflow.noise.radii.spherical.angle import angle_law
from certflow.noise.radii.spherical.half_table import LEAST_FAILURE, HalfTable, half_table
from certflow.noise.radii.spherical.radial import radial_law

EPS_NUM = {"truncated": 1e-9, "scaled": 2e-8}
"""Share of the dual given away to quadrature and residuals; what was measured is below it (docs/certificates.md)."""
LEAST_OVERLAP = 1e-4
"""P and Q that overlap less (Bhattacharyya) tell nothing about each other that arithmetic could find."""
LEAST_SHARE = 1e-6
"""A ball, or an outside of one, with less P-mass than this is treated as absent."""
BLOCK = 256
"""Images at a time: arrays of a megabyte, which stay in the cache."""


def gg_np_radius(pa_low: ArrayLike, d: int, k: int, sigma: float) -> np.ndarray:
    """Certified l2 radius under noise N^g(k, sigma) on R^d when the class has probability at least pa_low, [images].

    pa_low: float [images] in [0, 1]. d >= 8 coordinates, whole; k whole, 0 <= k < d/2 (0: Gaussian); sigma > 0 in [0,1]-pixel
    units. Returns float64 of pa_low's length, rounded down (1e-9 sigma), 0 where pa_low <= 1/2; at most 6 sigma, or the radius
    of p = 1 - 1e-11. ValueError for anything else, NaN included.
    """
    d, k = checked_dimension(d, k)
    (p,) = probabilities(pa_low=pa_low)
    noise = GeneralizedGaussian(k=k, sigma=checked_sigma(sigma))
    return shift_of(noise, "l2").radius(np.maximum(1 - p, LEAST_FAILURE), noise, d)


def dsrs_radius(
    pa_low: ArrayLike,
    pa_high: ArrayLike,
    qa_low: ArrayLike,
    qa_high: ArrayLike,
    d: int,
    k: int,
    sigma: float,
    q_kind: str,
    q_param: ArrayLike,
    tol: float = 1e-6,
    eps_num: float | None = None,
) -> dict[str, np.ndarray]:
    """Certified l2 radii from the class's probability under two laws, P = N^g(k, sigma) and Q.

    pa_low, pa_high, qa_low, qa_high: float [images] in [0, 1], intervals that contain the class's probability under P and Q.
    q_kind `scaled`: Q = N^g(k, beta), q_param = beta > 0 in sigma's unit. `truncated`: P given ||x|| <= T, q_param = p_T =
    P(||x|| <= T) in (0, 1]. `pooled`: Q = P, q_param is not read. q_param is a number or one per image.
    tol: the search ends at a step below 2 tol sigma. eps_num: what is taken off the dual for numerical error (default
    1e-9 truncated, 2e-8 scaled); twice what finer quadrature changes is taken off besides, at every radius of the search.

    Returns vectors [images]: `radius` (rounded down), `radius_np` (from pa_low alone; never above radius), `case` (`naive`: Q
    says nothing new; `lam2_pos`, `lam2_neg`: P's and Q's bounds bind, Q's lower or upper one; `q_only`: Q's alone; `p_high`:
    both, with P's upper bound), `status` (`ok`; `abstain`: pa_low <= 1/2, radius 0; `infeasible`: no classifier has such
    probabilities, radius_np; `disjoint`: P and Q hardly overlap, radius_np; `pooled`: Q = P; `maxiter`: stopped early, a valid
    radius), `n_eval` (evaluations of the dual) and `dual` (its last lower bound, >= 1/2 where radius > 0).

    ValueError for values outside these ranges, NaN, low > high, or lengths that differ.
    """
    d, k = checked_dimension(d, k)
    sigma = checked_sigma(sigma)
    p_low, p_high, q_low, q_high = probabilities(pa_low=pa_low, pa_high=pa_high, qa_low=qa_low, qa_high=qa_high)
    parameter, pooled = q_parameters(q_kind, q_param, len(p_low), sigma)
    tol, eps = _checked_tolerances(tol, EPS_NUM.get(q_kind, 0.0) if eps_num is None else eps_num)
    status = _status(p_low, p_high, q_low, q_high, d, k, q_kind, parameter, pooled)
    radius_np = _np_radius(p_low, d, k)
    radius = np.where(status == "pooled", _np_radius(np.maximum(p_low, q_low), d, k), radius_np)
    out = {
        "radius": radius,
        "radius_np": radius_np,
        "case": np.full(len(p_low), "naive", "<U8"),
        "status": status,
        "n_eval": np.zeros(len(p_low), np.int64),
        "dual": np.where(radius > 0, 0.5, p_low),
    }
    rows = np.flatnonzero((status == "ok") & (radius_np > 0))
    if q_kind == "truncated":
        rows = rows[(parameter[rows] >= LEAST_SHARE) & (parameter[rows] <= 1 - LEAST_SHARE)]
    if len(rows):
        table = half_table(d, k)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            _trace_block(
                out, some, table, q_kind, [v[some] for v in (p_low, p_high, q_low, q_high, parameter)], tol, eps
            )
    scale = sigma * (1 - RADIUS_GUARD)
    return {**out, "radius": out["radius"] * scale, "radius_np": out["radius_np"] * scale}


def _trace_block(out, rows, table: HalfTable, q_kind: str, arguments: list[np.ndarray], tol: float, eps: float) -> None:
    make = TruncatedDual if q_kind == "truncated" else ScaledDual
    dual = make(radial_law(table.d, table.k), angle_law(table.d), *arguments, eps)
    traced = trace(dual, table, out["radius_np"][rows], tol)
    out["radius"][rows], out["case"][rows], out["dual"][rows] = traced.radius, traced.case, traced.dual
    out["n_eval"][rows] = traced.evaluations
    out["status"][rows] = np.where(traced.converged, "ok", "maxiter")


def _np_radius(p: np.ndarray, d: int, k: int) -> np.ndarray:
    """Radius/sigma, rounded down. The Gaussian's is known in closed form."""
    failure = np.maximum(1 - p, LEAST_FAILURE)
    return half_table(d, k).radius(failure) if k else np.maximum(-special.ndtri(failure), 0.0)


def _status(p_low, p_high, q_low, q_high, d, k, q_kind, parameter, pooled) -> np.ndarray:
    status = np.full(len(p_low), "ok", "<U10")
    a = d / 2 - k
    with np.errstate(invalid="ignore"):
        if q_kind == "scaled":
            fits = feasible_scaled(a, p_low, p_high, q_low, q_high, parameter)
            status[overlap(a, parameter) < LEAST_OVERLAP] = "disjoint"
        elif q_kind == "truncated":
            fits = feasible_truncated(p_low, p_high, q_low, q_high, parameter)
        else:
            fits = np.ones(len(p_low), bool)
    fits = np.where(pooled, (q_low <= p_high) & (q_high >= p_low), fits)
    status[pooled] = "pooled"
    status[~fits & (status != "disjoint")] = "infeasible"
    status[np.where(status == "pooled", np.maximum(p_low, q_low), p_low) <= 0.5] = "abstain"
    return status


def _checked_tolerances(tol: float, eps: float) -> tuple[float, float]:
    for name, value in (("tol", tol), ("eps_num", eps)):
        if not (isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 <= value < 0.1):
            raise ValueError(f"{name}: must be a number from 0 to 0.1, got {value!r}")
    return max(float(tol), 1e-12), float(eps)
