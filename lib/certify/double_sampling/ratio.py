"""The weighted density ratio h = lambda1 + lambda2 q/p of a scaled Q along the radial axis, and what it cuts out.

q/p = kappa e^(-c t) with c = b^2 - 1, b = sigma/beta. Written as h = e^LN (m1 + m2 e(t)), e(t) = e^(-c (t - tm)) with tm
between the two laws, nothing overflows.
"""

from dataclasses import dataclass

import numpy as np

from lib.certify.double_sampling.growth import growth
from lib.certify.double_sampling.radial import RadialLaw, panels

LEVELS = (1e-4, 0.02, 0.15, 0.5, 0.85)
"""Levels of h next to its zero, as shares of its far value, at which panels end: log h is singular at the zero."""
SPREAD = (0.0, 0.3, 0.55, 1.0)
"""Panels of the whole range of x."""


@dataclass
class Ratio:
    """h for a block of images; arrays [rows]."""

    law: RadialLaw
    b: np.ndarray
    log_norm: np.ndarray
    m1: np.ndarray
    m2: np.ndarray

    @property
    def c(self) -> np.ndarray:
        return np.square(self.b) - 1

    @property
    def tm(self) -> np.ndarray:
        return self.law.a * (1 + 1 / np.square(self.b)) / 2

    def log_kappa(self) -> np.ndarray:
        """log of (q/p) / e(t): Q-mass = kappa * integral of e(t) over P."""
        return 2 * self.law.a * np.log(self.b) - self.c * self.tm

    def rows(self, which: np.ndarray) -> "Ratio":
        return Ratio(self.law, *(v[which] for v in (self.b, self.log_norm, self.m1, self.m2)))

    def tilt(self, t: np.ndarray) -> np.ndarray:
        """e(t), [rows, nodes]."""
        return np.exp(-self.c[:, None] * (t - self.tm[:, None]))

    def zero(self) -> np.ndarray:
        """t with h(t) = 0; nan where the multipliers agree in sign."""
        return self._at_share(np.ones_like(self.b))

    def rule(self, nodes: int, extra: list[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Nodes x = sqrt(t) and P-weights [rows, panels * nodes] for integrals of functions of h, P and Q alike.

        extra: further x where panels end, [rows] each; nan for none.
        """
        low, high = self.law.limits(1.0)
        low, high = low * np.minimum(1, 1 / self.b), high * np.maximum(1, 1 / self.b)
        ends = [low + share * (high - low) for share in SPREAD]
        if (self.m1 * self.m2 < 0).any():
            near = [np.ones_like(self.b)]
            near += [np.where(self.m2 < 0, 1 - eta, 1 / (1 - eta)) for eta in LEVELS]
            ends += [np.sqrt(np.maximum(self._at_share(share), 0.0)) for share in near]
        edges = np.stack([np.where(np.isfinite(end), end, high) for end in (*ends, *extra)], axis=-1)
        x, weight = panels(np.sort(np.clip(edges, low[:, None], high[:, None]), axis=-1), nodes)
        return x, weight * self.law.density(x)

    def _at_share(self, share: np.ndarray) -> np.ndarray:
        """t with m2 e(t) = -m1 * share."""
        with np.errstate(all="ignore"):
            ratio = np.where(self.m1 * self.m2 < 0, -self.m1 / self.m2, np.nan)
            return self.tm - np.log(ratio * share) / self.c


def crossing(ratio: Ratio, t: np.ndarray) -> np.ndarray:
    """x = w - t of the w where a point that started at t leaves {p(t) < h(w) p(w)}: k ln(1 + x/t) + x = log h(t + x).

    For h non-increasing (b > 1, m2 > 0): then w is unique and the set is {x' < x}. t: [rows, nodes].
    """
    k, square = ratio.law.k, np.square(ratio.b)[:, None]
    c, tm, norm, m1, m2 = (v[:, None] for v in (ratio.c, ratio.tm, ratio.log_norm, ratio.m1, ratio.m2))
    pure_q = growth(square * t, norm + np.log(m2) - c * (t - tm), k) / square  # the crossing for m1 = 0
    with np.errstate(all="ignore"):
        pure_p = growth(t, np.where(m1 > 0, norm + np.log(np.where(m1 > 0, m1, 1.0)), 0.0) + np.zeros_like(t), k)
        zero = np.where(m1 < 0, ratio.zero()[:, None] - t, np.inf)
        low = np.where(m1 > 0, np.maximum(pure_q, pure_p), np.where(m1 < 0, -t, pure_q))
        high = np.where(m1 < 0, np.minimum(pure_q, zero), np.inf)
        x = np.where(m1 < 0, np.maximum(-t, np.minimum(pure_q, zero - 1e-3 * np.abs(zero - low))), low)
    if not (m1 != 0).any():
        return x
    for _ in range(100):
        step = _crossing_step(x, t, k, c, tm, norm, m1, m2, low, high)
        x = x + step
        if np.abs(step / (t + np.abs(x))).max() < 1e-9:
            return x
    raise ArithmeticError("crossing: Newton's iteration did not converge")


def _crossing_step(x, t, k, c, tm, norm, m1, m2, low, high) -> np.ndarray:
    """One Newton step, or half the bracket where Newton would leave it; the bracket is narrowed in place."""
    with np.errstate(all="ignore"):
        tilted = m2 * np.exp(-c * (t + x - tm))
        h = m1 + tilted
        value = (k * np.log1p(x / t) if k else 0.0) + x - norm - np.log(h)
        value = np.where(h > 0, value, np.inf)
        value = np.where(t + x > 0, value, x - norm - np.log(h) if k == 0 else -np.inf)
        slope = (k / (t + x) if k else 0.0) + 1 + c * tilted / h
        np.copyto(low, x, where=(value < 0) & (x > low))
        np.copyto(high, x, where=(value > 0) & (x < high))
        step = -value / slope
        settled = np.abs(step) <= 1e-12 * (t + np.abs(x))
        out = ~np.isfinite(step) | ((x + step < low) | (x + step > high)) & ~settled
        middle = np.where(np.isfinite(high), 0.5 * (low + high) - x, step)
    return np.where(out, np.where(np.isfinite(middle), middle, 0.0), step)
