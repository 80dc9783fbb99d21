"""How far a point must move outwards for the noise density to fall by a given factor."""

import numpy as np

NEAR = 0.2
"""Up to this |L|/(t+k) the series below is a good start; beyond it the root is sought in ln(1 + x/t)."""
ENOUGH = 1e-5
"""A Halley step below this share of t + x leaves an error of its cube, a Newton step of 1e-8 one of its square."""


def growth(t: np.ndarray, level: np.ndarray, k: float) -> np.ndarray:
    """xi_k(t, L): the x >= -t with k ln(1 + x/t) + x = L; for k = 0, max(L, -t). t > 0; t and `level` broadcast, finite.

    The density of the noise at radial coordinate t is proportional to t^-k e^-t, so xi is the growth of t that divides the
    density by e^L. With z = x/t, c = k/(t+k) and eps = L/(t+k) the equation is c ln(1 + z) + (1 - c) z = eps. The difference
    x is what is needed: forming it as (t + x) - t, through Lambert's W, would lose it where k/t is 1e4 and more.
    """
    if k == 0:
        return np.maximum(level, -t)
    total = t + k
    eps = level / total
    c = k / total
    far = np.abs(eps) > NEAR
    if far.any():
        z = np.empty(eps.shape)
        z[far] = _far(eps[far], np.broadcast_to(c, eps.shape)[far], np.broadcast_to(t / total, eps.shape)[far])
        near = ~far
        z[near] = _near(eps[near], np.broadcast_to(c, eps.shape)[near])
    else:
        z = _near(eps, c)
    z *= t
    return z


def growth_slope(t: np.ndarray, x: np.ndarray, k: float) -> np.ndarray:
    """d xi_k(t, L) / dL at xi = x: (t + x) / (t + x + k)."""
    grown = t + x
    return (grown > 0).astype(np.float64) if k == 0 else grown / (grown + k)


def _near(eps: np.ndarray, c: np.ndarray) -> np.ndarray:
    """z by its series to third order in eps, then Halley steps (one, nearly always)."""
    z = eps * (1 + eps * (0.5 * c + eps * c * (0.5 * c - 1 / 3)))
    for _ in range(20):
        inverse = 1 / (1 + z)
        value = np.log1p(z)
        value -= z
        value *= c
        value += z
        value -= eps
        slope = inverse - 1
        slope *= c
        slope += 1
        value /= slope
        inverse *= inverse
        inverse *= c
        inverse /= slope
        inverse *= value
        inverse *= 0.5
        inverse += 1
        value /= inverse
        z -= value
        if z.size == 0 or max(value.max(), -value.min()) < ENOUGH:
            return z
    raise ArithmeticError("growth: Halley's iteration did not converge")


def _far(eps: np.ndarray, c: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """z = e^w - 1 with c w + rest (e^w - 1) = eps, by Newton from above: the left side is convex and increasing in w.

    rest: 1 - c as t / (t + k), which is not 0 where t is far below k.
    """
    with np.errstate(divide="ignore"):
        w = np.minimum(eps, np.log1p(np.maximum(eps, 0) / rest) + np.where(eps < 0, np.inf, 0.0))
    for _ in range(200):
        rise = rest * np.exp(w)
        step = (c * w + rise - rest - eps) / (c + rise)
        w -= step
        if np.abs(step).max() < 1e-8:
            return np.expm1(w)
    raise ArithmeticError("growth: Newton's iteration did not converge")
