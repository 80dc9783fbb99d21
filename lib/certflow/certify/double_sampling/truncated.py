"""The DSRS dual for Q = P inside a ball: two independent one-dimensional problems.

Let tau be the ball's radial coordinate, p_T = Pr_P[t <= tau], so that q = p/p_T inside and 0 outside. With multipliers e^Lin
inside and e^Lout outside (lambda1 = e^Lout, lambda2 = p_T (e^Lin - e^Lout)) the dual function is, per image,

    D = R_in(Lin) + R_out(Lout) + e^Lin (M_in - m_in(Lin)) + e^Lout (M_out - m_out(Lout)),

m the masses under P of {p_delta < e^L p} inside and outside, R the masses under the shifted law, M the budgets: M_in = Q* p_T,
M_out = pL - M_in, Q* = qL where lambda2 >= 0 and qH where it is < 0. D bounds the worst class probability from below for every
Lin, Lout (weak duality), so these need not be exact; D itself must be.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from certflow.certify.double_sampling.trail import Trail
from certflow.noise.radii.spherical.angle import AngleLaw
from certflow.noise.radii.spherical.growth import growth, growth_slope
from certflow.noise.radii.spherical.radial import TAIL, RadialLaw, panels

MASS_NODES, REACH_NODES = 24, 20
"""Gauss nodes per panel of m and of R. Half as many again change D by at most 3e-10 on published data."""
LEVELS = (-60.0, 13.0)
"""Range of Lin and Lout. Beyond e^13 what the dual gains is less than what rounding of the masses may cost."""
ALL = 1 - 1e-16
"""A larger share of a side than this is the whole of it."""
PRECISE = 3e-6
"""Residual in probit space at which a multiplier is good enough: D is flat there and loses about its square."""


@dataclass
class Side:
    """The points inside or outside the ball, as a quadrature rule per image: x = sqrt(t), P-weights, both [rows, nodes]."""

    x: np.ndarray
    weight: np.ndarray
    total: np.ndarray
    """P-mass of the side, [rows]."""

    def rows(self, which: np.ndarray) -> "Side":
        return Side(self.x[which], self.weight[which], self.total[which])


def sides(law: RadialLaw, edge: np.ndarray, share: np.ndarray, nodes: int) -> tuple[Side, Side]:
    """Rules inside and outside t <= edge^2 that holds `share` of P, [rows] each."""
    edge = np.clip(edge, law.low, law.high)[:, None]
    inner = panels(law.low + (edge - law.low) * np.array([0.0, 0.6, 1.0]), nodes)
    outer = panels(edge + (law.high - edge) * np.array([0.0, 0.35, 1.0]), nodes)
    return (
        Side(inner[0], inner[1] * law.density(inner[0]), share),
        Side(outer[0], outer[1] * law.density(outer[0]), 1 - share),
    )


def mass(
    law: RadialLaw, angle: AngleLaw, side: Side, rho: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """m(L) of a side and dm/dL, [rows]."""
    t = np.square(side.x)
    rho = rho[:, None]
    grown = growth(t, -level[:, None], law.k)
    per = np.sqrt(law.d / 2) / (rho * side.x)
    inside, density = angle.cdf_and_density((rho * rho / 2 - grown) * per)
    density *= per
    density *= growth_slope(t, grown, law.k)
    return np.einsum("ij,ij->i", inside, side.weight), np.einsum("ij,ij->i", density, side.weight)


def solve(law: RadialLaw, angle: AngleLaw, side: Side, rho, target, start) -> tuple[np.ndarray, np.ndarray]:
    """Levels with m(L) = target to `PRECISE`, and the mass found there, [rows] each.

    Newton in probit space, in which m is nearly linear, kept inside a bracket. Where target <= 0 the level is -inf, mass 0.
    """
    level, found = np.full(len(target), -np.inf), np.zeros(len(target))
    active = np.flatnonzero(target > 0)
    level[active] = np.clip(np.where(np.isfinite(start[active]), start[active], 0.0), *LEVELS)
    low, high = np.full(len(target), LEVELS[0]), np.full(len(target), LEVELS[1])
    goal = special.ndtri(np.minimum(target / side.total, ALL))
    part = side.rows(active)
    for _ in range(80):
        if len(active) == 0:
            break
        here = level[active]
        value, slope = mass(law, angle, part, rho[active], here)
        found[active] = value
        z = special.ndtri(np.clip(value / part.total, 1e-300, ALL))
        residual = z - goal[active]
        high[active] = np.where(residual > 0, here, high[active])
        low[active] = np.where(residual < 0, here, low[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = residual * normal_density(z) * part.total / slope
        next_level = here - step
        wrong = ~((next_level > low[active]) & (next_level < high[active]))
        next_level[wrong] = 0.5 * (low[active] + high[active])[wrong]
        going = (np.abs(residual) > PRECISE) & (high[active] - low[active] > 1e-9)
        level[active[going]] = next_level[going]
        if not going.all():
            active, part = active[going], part.rows(going)
    return level, found


def normal_density(z: np.ndarray) -> np.ndarray:
    """The standard normal density."""
    return np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)


def shifted_mass(law: RadialLaw, angle: AngleLaw, edge, rho, level_in, level_out, nodes: int) -> np.ndarray:
    """R_in(Lin) + R_out(Lout): the worst set's mass under the shifted law, [rows].

    A point at t of the shifted law lies in the set iff its growth towards the unshifted centre is below a bound: below
    min(tau - t, xi(t, Lin)) inside, between tau - t and xi(t, Lout) outside. The bound has kinks, and crossing the ball's edge
    is a step in t that may be as narrow as 1e-5 of the law's width; panels end at both.
    """
    tau = np.square(edge)
    t_in = tau + growth(tau, -np.where(np.isfinite(level_in), level_in, 0.0), law.k)
    t_out = tau + growth(tau, -np.where(np.isfinite(level_out), level_out, 0.0), law.k)
    x_in = np.where(np.isfinite(level_in), np.sqrt(np.maximum(t_in, 0.0)), law.high)
    x_out = np.where(np.isfinite(level_out), np.sqrt(np.maximum(t_out, 0.0)), law.high)
    width = angle.reach * rho / np.sqrt(2 * law.d)
    middle = np.sqrt(np.maximum(tau - rho * rho / 2, 0.0))
    spread = np.sqrt(np.maximum(tau - rho * rho / 2 + width * width, 0.0))
    ends = np.stack(
        np.broadcast_arrays(law.low, spread - width, x_in, middle, x_out, spread + width, law.high), axis=-1
    )
    x, weight = panels(np.sort(np.clip(ends, law.low, law.high), axis=-1), nodes)
    weight *= law.density(x)
    t = np.square(x)
    rho = rho[:, None]
    per = np.sqrt(law.d / 2) / (rho * x)

    def below(bound: np.ndarray) -> np.ndarray:
        return angle.cdf((bound - rho * rho / 2) * per)

    edge_bound = tau[:, None] - t
    ordered = level_in >= level_out
    if ordered.all():
        return np.einsum(
            "ij,ij->i", below(_median_bound(law, t, edge_bound, x < x_in[:, None], level_in, level_out)), weight
        )
    at_edge = below(edge_bound)
    inner = below(np.minimum(edge_bound, _bound(law, t, level_in)))
    outer = np.maximum(below(_bound(law, t, level_out)) - at_edge, 0.0)
    return np.einsum("ij,ij->i", inner + outer, weight)


def _median_bound(law, t, edge_bound, inside, level_in, level_out) -> np.ndarray:
    """min(xi_in, max(tau - t, xi_out)) for Lin >= Lout: xi_in until it meets tau - t, then the larger of the others."""
    grown = _bound(law, t, np.where(inside, level_in[:, None], level_out[:, None]))
    return np.where(inside, np.minimum(grown, edge_bound), np.maximum(grown, edge_bound))


def _bound(law: RadialLaw, t: np.ndarray, level: np.ndarray) -> np.ndarray:
    """xi(t, L), and -t (nothing) for L = -inf."""
    level = level[:, None] if level.ndim == 1 else level
    grown = growth(t, np.where(np.isfinite(level), level, 0.0) + np.zeros_like(t), law.k)
    return np.where(np.isfinite(level), grown, -t)


class TruncatedDual:
    """The dual of a block of images at changing radii. Arrays over the block's images, [images].

    p_lower: pL; q_lower, q_upper: the interval of Q(A); share: p_T in (0, 1). Radii are in units of sigma. `up`: which end of
    the Q interval binds (True: qL, the multiplier of Q is >= 0; False: qH). Multipliers are kept as starts for the next radius.
    """

    def __init__(self, law: RadialLaw, angle: AngleLaw, p_lower, p_upper, q_lower, q_upper, share, eps: float):
        self.law, self.angle, self.eps = law, angle, eps
        self.p_lower, self.q_lower, self.q_upper, self.share = p_lower, q_lower, q_upper, share
        self.edge = np.sqrt(special.gammaincinv(law.a, share))
        self.inside, self.outside = sides(law, self.edge, share, MASS_NODES)
        self.level_in, self.level_out = np.zeros(len(share)), np.zeros(len(share))
        self.up = np.zeros(len(share), bool)
        self._trail = Trail(2, len(share))

    def begin(self, r: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Start from the Neyman-Pearson solution (radius, level); bool [images]: whether Q says anything beyond it."""
        known = mass(self.law, self.angle, self.inside, r * self.law.unit, level)[0] / self.share
        self.level_in, self.level_out = level.copy(), level.copy()
        self.up = known < self.q_lower
        return self.up | (known > self.q_upper)

    def bound(self, rows: np.ndarray, r: np.ndarray) -> np.ndarray:
        """A lower bound of the dual's maximum at radius r, [rows]; `rows` are indices of images."""
        rho = r * self.law.unit
        budget = np.where(self.up[rows], self.q_lower[rows], self.q_upper[rows]) * self.share[rows]
        rest = np.maximum(self.p_lower[rows] - budget, 0.0)
        starts = self._trail.predicted(rows, r, self.level_in[rows], self.level_out[rows])
        self.level_in[rows], self.level_out[rows] = starts
        mass_in = self._solve(self.inside.rows(rows), rows, rho, budget, self.level_in)
        mass_out = self._solve(self.outside.rows(rows), rows, rho, rest, self.level_out)
        self._trail.add(rows, r, self.level_in[rows], self.level_out[rows])
        return self._dual(rows, rho, mass_in, mass_out, REACH_NODES)

    def finer(self, rows: np.ndarray, r: np.ndarray, times: float) -> np.ndarray:
        """The dual at the multipliers of the last `bound`, with so many times its nodes."""
        rho, nodes = r * self.law.unit, round(MASS_NODES * times)
        masses = [np.zeros(len(rows)), np.zeros(len(rows))]
        levels = (self.level_in[rows], self.level_out[rows])
        for out, side, level in zip(
            masses, sides(self.law, self.edge[rows], self.share[rows], nodes), levels, strict=True
        ):
            some = np.isfinite(level)
            out[some] = mass(self.law, self.angle, side.rows(some), rho[some], level[some])[0]
        return self._dual(rows, rho, *masses, round(REACH_NODES * times))

    def case(self, rows: np.ndarray) -> np.ndarray:
        """Which constraints bind, as text [rows]."""
        only_q = np.isneginf(self.level_out[rows])
        return np.where(self.up[rows], np.where(only_q, "q_only", "lam2_pos"), "lam2_neg")

    def _solve(self, side: Side, rows: np.ndarray, rho, target, levels: np.ndarray) -> np.ndarray:
        levels[rows], found = solve(self.law, self.angle, side, rho, target, levels[rows])
        return found

    def _dual(self, rows: np.ndarray, rho, mass_in, mass_out, nodes: int) -> np.ndarray:
        """D less what its parts may err; the end of the Q interval follows the sign of lambda2."""
        level_in, level_out = self.level_in[rows], self.level_out[rows]
        inside, outside = np.exp(level_in), np.exp(level_out)
        reached = np.empty(len(rows))
        ordered = level_in >= level_out
        for which in (ordered, ~ordered):
            if which.any():
                arguments = (self.edge[rows], rho, level_in, level_out)
                reached[which] = shifted_mass(self.law, self.angle, *(v[which] for v in arguments), nodes)
        q = np.where(ordered, self.q_lower[rows], self.q_upper[rows]) * self.share[rows]
        value = reached + inside * (q - mass_in) + outside * (self.p_lower[rows] - q - mass_out)
        return value - self.eps - (1 + inside + outside) * (2 * TAIL + self.angle.error)
