"""The weighted density ratio h = lambda1 + lambda2 q/p of a scaled Q along the radial axis, and what it cuts out.

q/p = kappa e^(-c t) with c = b^2 - 1, b = sigma/beta. Written as h = e^LN (m1 + m2 e(t)), e(t) = e^(-c (t - tm)) with tm
between the two laws, nothing overflows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certflow.noise.radii.spherical.growth import growth
from certflow.noise.radii.spherical.radial import RadialLaw, panels

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

    def rule(self, nodes: int, extra: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Nodes x = sqrt(t) and P-weights [rows, panels * nodes] for integrals of functions of h, P and Q alike.

        extra: further x where panels end, [rows] each; nan for none.
        """
        low, high = self.law.low * np.minimum(1, 1 / self.b), self.law.high * np.maximum(1, 1 / self.b)
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

    For h non-increasing (b > 1, m2 > 0): then w is unique and the set is {x' < x}. All m1 of one sign. t: [rows, nodes].

    With u(x) = k ln(1 + x/t) + x - LN and v(x) = log m2 - c (t + x - tm) the equation is u = v for m1 = 0 (solved by `growth`),
    u = ln(m1 + e^v) for m1 > 0 and ln(|m1| + e^u) = v for m1 < 0, where a logarithm of h would have a pole next to the root.
    The logarithms of sums lie within ln 2 of their larger part, whose root starts Newton's iteration. Where that does not
    settle (multipliers of 1e15, from a search that diverged) the crossing counts as -t: nothing lies within, R is no larger.
    """
    k, square = ratio.law.k, np.square(ratio.b)[:, None]
    c, tm, norm, m1, m2 = (v[:, None] for v in (ratio.c, ratio.tm, ratio.log_norm, ratio.m1, ratio.m2))
    log_q = np.log(m2) - c * (t - tm)
    only_q = growth(square * t, norm + log_q, k) / square
    if (m1 == 0).all():
        return only_q
    log_p = np.log(np.abs(m1))
    positive = bool((m1 > 0).all())
    other = growth(t, norm + log_p + np.zeros_like(t), k) if positive else (log_q - log_p) / c
    x = np.maximum(only_q, other) if positive else np.maximum(np.minimum(only_q, other), -0.999 * t)
    for _ in range(100):
        value, slope = _balance(x, t, k, c, norm, log_p, log_q, positive)
        step = np.minimum(value / slope, 0.9 * (t + x))  # stays above the pole at x = -t
        x = x - step
        settled = np.abs(step / (t + np.abs(x))) < 1e-8
        if settled.all():
            break
    return np.where(settled, x, -t)


def _balance(x, t, k, c, norm, log_p, log_q, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Left minus right side of the equation in `crossing`, and its derivative, which is positive."""
    u = x - norm
    slope = 1.0
    if k:
        u += k * np.log1p(np.maximum(x / t, -1 + 1e-15))
        slope = 1.0 + k / np.maximum(t + x, 1e-300)
    v = log_q - c * x
    summed = np.logaddexp(log_p, v if positive else u)
    share = np.exp((v if positive else u) - summed)
    return (u - summed, slope + c * share) if positive else (summed - v, slope * share + c)
