"""The DSRS dual for Q of another scale: a concave problem in two multipliers.

Q is the noise of scale beta = sigma/b. With h = lambda1 + lambda2 q/p (see `ratio`) the worst set is {p_delta < h p}, and

    D = R + lambda1 (P* - P) + lambda2 (Q* - Q),     P* = pL or pH, Q* = qL or qH by the signs of the multipliers,

bounds the worst class probability from below for any multipliers (weak duality). They are found by damped Newton on P = P*,
Q = Q*; P, Q, R are the masses of the worst set under P, Q and the shifted P.
"""

import math

import numpy as np
from scipy import special

from certflow.certify.double_sampling.ratio import Ratio, crossing
from certflow.certify.double_sampling.trail import Trail
from certflow.noise.radii.spherical.angle import AngleLaw
from certflow.noise.radii.spherical.growth import growth, growth_slope
from certflow.noise.radii.spherical.radial import TAIL, RadialLaw, gauss

NODES, ARC_NODES = 20, 56
"""Gauss nodes per panel in x = sqrt(t), and along a sphere. Half as many again change D by at most 5e-11 on published data."""
CHUNK = 32 * NODES * ARC_NODES
"""Images times nodes of either kind that `polar_mass` is asked for at a time: arrays of some megabytes."""
FLAT = 1e-11
"""Newton stops where the dual can rise by no more than this (half the Newton decrement)."""
MOST_STEPS = 60


def moments(angle: AngleLaw, ratio: Ratio, rho: np.ndarray, nodes: int) -> np.ndarray:
    """[5, rows]: the worst set's P-mass and Q-mass / kappa, and their derivatives dP/dm1, dP/dm2 = dQ/dm1, dQ/dm2."""
    law = ratio.law
    x, weight = ratio.rule(nodes)
    t, rho = np.square(x), rho[:, None]
    tilt = ratio.tilt(t)
    h = ratio.m1[:, None] + ratio.m2[:, None] * tilt
    inside = h > 0
    h = np.where(inside, h, 1.0)
    grown = growth(t, -(np.log(h) + ratio.log_norm[:, None]), law.k)
    per = math.sqrt(law.d / 2) / (rho * x)
    mass, density = angle.cdf_and_density((rho * rho / 2 - grown) * per)
    weight = weight * inside
    mass *= weight
    density *= per * growth_slope(t, grown, law.k) * weight / h
    tilted = density * tilt
    pairs = ((mass, None), (mass, tilt), (density, None), (tilted, None), (tilted, tilt))
    return np.stack([a.sum(axis=1) if b is None else np.einsum("ij,ij->i", a, b) for a, b in pairs])


def shifted_mass(angle: AngleLaw, ratio: Ratio, rho: np.ndarray, nodes: int, arc_nodes: int) -> np.ndarray:
    """R: the worst set's mass under the shifted law, [rows].

    Where h falls with the radius a point of the shifted law that started at t lies in the set iff it moved outwards by less
    than `crossing`; else by `polar_mass`.
    """
    out = np.empty(len(rho))
    falls = (ratio.c > 0) & (ratio.m2 > 0)
    for sign in (-1.0, 0.0, 1.0):
        some = falls & (np.sign(ratio.m1) == sign)
        if some.any():
            out[some] = _crossing_mass(angle, ratio.rows(some), rho[some], nodes)
    for start in np.array_split(np.flatnonzero(~falls), max(1, math.ceil((~falls).sum() * nodes * arc_nodes / CHUNK))):
        if len(start):
            out[start] = polar_mass(angle, ratio.rows(start), rho[start], nodes, arc_nodes)
    return out


def _crossing_mass(angle: AngleLaw, ratio: Ratio, rho: np.ndarray, nodes: int) -> np.ndarray:
    law = ratio.law
    extra = []
    if (ratio.m1 < 0).any():
        # next to the zero of h, before which the rule's own panels end, the crossing is a step: here it is over
        centre = ratio.zero() - rho * rho / 2
        width = angle.reach * rho / math.sqrt(2 * law.d)
        extra = [np.sqrt(np.maximum(centre + width * width, 0.0)) + width]
    x, weight = ratio.rule(nodes, extra)
    t, rho = np.square(x), rho[:, None]
    y = (crossing(ratio, t) - rho * rho / 2) * (math.sqrt(law.d / 2) / (rho * x))
    return np.einsum("ij,ij->i", angle.cdf(y), weight)


def polar_mass(angle: AngleLaw, ratio: Ratio, rho: np.ndarray, nodes: int, arc_nodes: int) -> np.ndarray:
    """R for any h: p_delta/p integrated over the part of every sphere around the unshifted centre, [rows].

    On the sphere at t, u = sqrt(d) cos(angle) from -reach to y(t). What lies beyond the reach is left out, which lowers R.
    """
    law = ratio.law
    x, weight = ratio.rule(nodes)
    t, rho = np.square(x), rho[:, None]
    h = ratio.m1[:, None] + ratio.m2[:, None] * ratio.tilt(t)
    inside = h > 0
    grown = growth(t, -(np.log(np.where(inside, h, 1.0)) + ratio.log_norm[:, None]), law.k)
    end = np.clip((rho * rho / 2 - grown) * (math.sqrt(law.d / 2) / (rho * x)), -angle.reach, angle.reach)
    place, share = gauss(arc_nodes)
    width = (end + angle.reach)[..., None]
    u = width * place - angle.reach
    moved = (rho * rho / 2)[..., None] - (rho * x * math.sqrt(2 / law.d))[..., None] * u
    with np.errstate(divide="ignore", over="ignore"):
        log_ratio = -moved - (law.k * np.log1p(np.maximum(moved / t[..., None], -1.0)) if law.k else 0.0)
        arc = np.exp(log_ratio) * angle.density(u)
    return np.einsum("ijk,k,ij,ij->i", arc, share, width[..., 0], weight * inside)


class ScaledDual:
    """The dual of a block of images at changing radii; the same interface as `TruncatedDual`, with b = sigma/beta [images]."""

    def __init__(self, law: RadialLaw, angle: AngleLaw, p_lower, p_upper, q_lower, q_upper, b, eps: float):
        self.law, self.angle, self.eps, self.b = law, angle, eps, b
        self.p_lower, self.p_upper, self.q_lower, self.q_upper = p_lower, p_upper, q_lower, q_upper
        count = len(b)
        self.m1, self.m2 = np.ones(count), np.zeros(count)
        self.log_norm, self.up = np.zeros(count), np.zeros(count, bool)
        self._trail = Trail(2, count)
        self.kappa = np.exp(self._ratio(np.arange(count)).log_kappa())

    def begin(self, r: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Start from the Neyman-Pearson solution (radius, level); bool [images]: whether Q says anything beyond it."""
        self.log_norm = level.copy()
        known = self._moments(np.arange(len(r)), r * self.law.unit)[1] * self.kappa
        self.up = known < self.q_lower
        return self.up | (known > self.q_upper)

    def bound(self, rows: np.ndarray, r: np.ndarray) -> np.ndarray:
        """A lower bound of the dual's maximum at radius r, [rows]; `rows` are indices of images."""
        rho = r * self.law.unit
        q = np.where(self.up[rows], self.q_lower[rows], self.q_upper[rows]) / self.kappa[rows]
        bound_before = np.sign(self.m1[rows])
        self.m1[rows], self.m2[rows] = self._trail.predicted(rows, r, self.m1[rows], self.m2[rows])
        found = np.empty((2, len(rows)))
        for sign, solve in ((1, self._with_p_lower), (0, self._without_p), (-1, self._with_p_upper)):
            some = bound_before == sign
            if some.any():
                found[:, some] = solve(rows[some], rho[some], q[some])
        self._trail.add(rows, r, self.m1[rows], self.m2[rows])
        return self._dual(rows, rho, found, NODES, ARC_NODES)

    def finer(self, rows: np.ndarray, r: np.ndarray, times: float) -> np.ndarray:
        """The dual at the multipliers of the last `bound`, with so many times its nodes; along a sphere, where nothing is
        steep, at most three times."""
        rho, nodes, arc_nodes = r * self.law.unit, round(NODES * times), round(ARC_NODES * min(times, 3))
        return self._dual(rows, rho, self._moments(rows, rho, nodes)[:2], nodes, arc_nodes)

    def case(self, rows: np.ndarray) -> np.ndarray:
        """Which constraints bind, as text [rows]."""
        m1 = self.m1[rows]
        up = np.where(m1 > 0, "lam2_pos", np.where(m1 < 0, "p_high", "q_only"))
        return np.where(self.up[rows], up, "lam2_neg")

    def _ratio(self, rows: np.ndarray) -> Ratio:
        return Ratio(self.law, *(v[rows] for v in (self.b, self.log_norm, self.m1, self.m2)))

    def _moments(self, rows: np.ndarray, rho: np.ndarray, nodes: int = NODES) -> np.ndarray:
        """`moments` of the images' present multipliers; those without a zero of h need fewer panels."""
        ratio, out = self._ratio(rows), np.empty((5, len(rows)))
        mixed = ratio.m1 * ratio.m2 < 0
        for which in (mixed, ~mixed):
            if which.any():
                out[:, which] = moments(self.angle, ratio.rows(which), rho[which], nodes)
        return out

    def _dual(self, rows: np.ndarray, rho, masses: np.ndarray, nodes: int, arc_nodes: int) -> np.ndarray:
        """D less what its parts may err."""
        ratio = self._ratio(rows)
        p = np.where(ratio.m1 >= 0, self.p_lower[rows], self.p_upper[rows])
        q = np.where(ratio.m2 >= 0, self.q_lower[rows], self.q_upper[rows]) / self.kappa[rows]
        reached = shifted_mass(self.angle, ratio, rho, nodes, arc_nodes)
        norm = np.exp(ratio.log_norm)
        value = reached + norm * (ratio.m1 * (p - masses[0]) + ratio.m2 * (q - masses[1]))
        size = norm * (np.abs(ratio.m1) + np.abs(ratio.m2) / self.kappa[rows])
        return value - self.eps - (1 + size) * (2 * TAIL + self.angle.error)

    def _newton(self, rows: np.ndarray, rho, p, q) -> np.ndarray:
        """Set m1, m2 of `rows` to where P = p and Q/kappa = q as nearly as it can; [2, rows]: the masses there.

        A step is taken unless the gradient along it turns over by more than half; no value of D is needed for that.
        """
        now = self._moments(rows, rho)
        masses = now[:2].copy()
        step, fall = self._direction(rows, now, p, q)
        share = np.ones(len(rows))
        going = np.flatnonzero(fall > 0)
        for _ in range(MOST_STEPS):
            if len(going) == 0:
                break
            at = rows[going]
            before = self.m1[at], self.m2[at]
            self.m1[at] = before[0] + share[going] * step[0][going]
            self.m2[at] = before[1] + share[going] * step[1][going]
            now = self._moments(at, rho[going])
            turn = (now[0] - p[going]) * step[0][going] + (now[1] - q[going]) * step[1][going]
            taken = turn < 0.5 * fall[going]
            back = at[~taken]
            self.m1[back], self.m2[back] = before[0][~taken], before[1][~taken]
            share[going[~taken]] *= 0.35
            done = going[taken]
            masses[:, done] = now[:2, taken]
            direction, gain = self._direction(rows[done], now[:, taken], p[done], q[done])
            step[:, done], fall[done], share[done] = direction, gain, 1.0
            going = going[(fall[going] > 0) & (share[going] > 1e-8)]
        return masses

    def _direction(self, rows: np.ndarray, now: np.ndarray, p, q) -> tuple[np.ndarray, np.ndarray]:
        """Newton step [2, rows], at most twice the present size, and the decrement along it; 0 where nothing is to gain."""
        first, second = now[0] - p, now[1] - q
        _, _, a, b, c = now
        a, c = a * (1 + 1e-13) + 1e-300, c * (1 + 1e-13) + 1e-300
        det = a * c - b * b
        with np.errstate(all="ignore"):
            step = np.stack([b * second - c * first, b * first - a * second]) / det
            fall = -(first * step[0] + second * step[1])
            size = np.abs(self.m1[rows]) + np.abs(self.m2[rows])
            cut = np.minimum(1.0, 2 * size / (np.abs(step[0]) + np.abs(step[1])))
        worth = np.isfinite(fall) & np.isfinite(cut) & (det > 0) & (0.5 * np.exp(self.log_norm[rows]) * fall > FLAT)
        cut = np.where(worth, cut, 0.0)
        return np.where(worth, step, 0.0) * cut, np.where(worth, fall, 0.0) * cut

    def _with_p_lower(self, rows: np.ndarray, rho, q) -> np.ndarray:
        """The solution with P = pL; [2, rows]: masses. Where lambda1 would be negative more of P than pL belongs to the set."""
        found = self._newton(rows, rho, self.p_lower[rows], q)
        beyond = self.m1[rows] < 0
        if beyond.any():
            found[:, beyond] = self._without_p(rows[beyond], rho[beyond], q[beyond])
        return found

    def _with_p_upper(self, rows: np.ndarray, rho, q) -> np.ndarray:
        """The solution with P = pH and lambda1 < 0; the one without P where there is none; [2, rows]: masses."""
        found = self._newton(rows, rho, self.p_upper[rows], q)
        within = self.m1[rows] > 0
        if within.any():
            found[:, within] = self._only_q(rows[within], rho[within], q[within])
        return found

    def _without_p(self, rows: np.ndarray, rho, q) -> np.ndarray:
        """The solution with lambda1 = 0 where its P-mass lies in P's interval, else the one at the end it misses."""
        before = self.m1[rows].copy(), self.m2[rows].copy()
        found = self._only_q(rows, rho, q)
        outside = (found[0] > self.p_upper[rows]) | (found[0] < self.p_lower[rows] - 1e-9)
        if outside.any():
            at, start = rows[outside], [v[outside] for v in before]
            end = np.where(found[0] > self.p_upper[rows], self.p_upper[rows], self.p_lower[rows])[outside]
            self.m1[at] = start[0]
            self.m2[at] = np.where(start[0] == 0, self.m2[at], start[1])
            found[:, outside] = self._newton(at, rho[outside], end, q[outside])
        return found

    def _only_q(self, rows: np.ndarray, rho, q) -> np.ndarray:
        """m1 = 0 and Q/kappa = q by Newton on log m2 in probit space; [2, rows]: masses."""
        kappa = self.kappa[rows]
        goal = special.ndtri(q * kappa)
        self.m1[rows], self.m2[rows] = 0.0, np.maximum(self.m2[rows], 1e-3)
        masses = np.empty((2, len(rows)))
        going = np.arange(len(rows))
        for _ in range(MOST_STEPS):
            at = rows[going]
            now = self._moments(at, rho[going])
            masses[:, going] = now[:2]
            z = special.ndtri(np.clip(now[1] * kappa[going], 1e-300, 1 - 1e-16))
            residual = z - goal[going]
            with np.errstate(all="ignore"):
                slope = now[4] * self.m2[at] * kappa[going] * math.sqrt(2 * math.pi) * np.exp(0.5 * z * z)
                step = np.clip(np.nan_to_num(residual / slope), -2.0, 2.0)
            more = np.abs(residual) > 1e-6
            going = going[more]
            if len(going) == 0:
                break
            self.m2[rows[going]] *= np.exp(-step[more])
        return masses
