"""How few draws any test could do with: a lower bound for a whole table, whatever the test, its looks and its futility.

A test of "p <= p0" that errs with probability at most alpha, and rejects with probability b at p > p0, draws

    E_p[N] >= kl(b, alpha) / kl(p, p0)

times on average, kl(x, y) = x ln(x/y) + (1-x) ln((1-x)/(1-y)) (Wald 1945; for any stopping rule Kaufmann, Cappé and Garivier
2016). A table tests several p0 on the same draws. Each image may spend its draws where they buy most, so the least mean number
that holds given shares of the images is a convex programme; every value of its Lagrange dual is a valid bound.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

COSTS = np.concatenate([[0.0], np.geomspace(1.0, 1e8, 160)])
"""Draws of an image that are compared; see `_at_least` for what lies between two of them."""
SWEEPS, HALVINGS = 3, 16
"""How often every price is set anew, and how closely: a looser search gives a lower bound, and still a bound."""


def divergence(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Kullback-Leibler divergence of a Bernoulli law of mean x from one of mean y, in nats; they broadcast."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return special.rel_entr(x, y) + special.rel_entr(1 - x, 1 - y)


def most_power(information: np.ndarray, alpha: float) -> np.ndarray:
    """The largest b with kl(b, alpha) <= information (nats, any shape), rounded up; 1 where even certainty is paid for."""
    low, high = np.full(np.shape(information), float(alpha)), np.ones(np.shape(information))
    for _ in range(45):
        middle = (low + high) / 2
        paid = divergence(middle, alpha) <= information
        low, high = np.where(paid, middle, low), np.where(paid, high, middle)
    return np.where(information >= -np.log(alpha), 1.0, high)


def least_draws(failure: np.ndarray, weights: np.ndarray, limits: np.ndarray, held: np.ndarray, alpha: float) -> float:
    """Fewest mean draws per image of any test that holds at least a share `held` of the images at each limit.

    failure: float64 [atoms], probabilities q = 1 - p, of which `weights` (sum 1) say how frequent they are among images;
    limits: float64 [radii], a radius holds where q is below its limit; held: float64 [radii]; alpha: level of each image's
    claims. Images with q >= limit are held with probability alpha for nothing. A lower bound by weak duality, whatever the
    prices: they are raised one radius after the other until each holds its share. Shares that no test can hold are lowered to
    what one can.
    """
    possible = failure[:, None] < limits
    information = np.where(possible, divergence(failure[:, None], limits), 0.0)  # [atoms, radii]
    bought = most_power(information[:, None, :] * COSTS[:, None], alpha)  # [atoms, costs, radii]
    most = np.where(possible, 1.0, alpha)
    goals = np.minimum(held, 0.999 * (weights @ most))

    def dual(prices: np.ndarray) -> tuple[float, np.ndarray]:
        """A lower bound of the dual's value, and the shares that are held at these prices."""
        value = COSTS - bought @ prices
        chosen = value.argmin(axis=1)
        beyond = COSTS[-1] - most @ prices
        least = np.minimum(_at_least(value), beyond)
        return float(weights @ least + prices @ goals), weights @ bought[np.arange(len(value)), chosen]

    prices, best = np.zeros(len(limits)), 0.0
    for radius in [*range(len(limits))] * SWEEPS:
        low, high = -4.0, 30.0  # exponents of e
        for _ in range(HALVINGS):
            prices[radius] = np.exp((low + high) / 2)
            value, shares = dual(prices)
            best = max(best, value)
            low, high = ((low + high) / 2, high) if shares[radius] < goals[radius] else (low, (low + high) / 2)
    return best


def _at_least(value: np.ndarray) -> np.ndarray:
    """float64 [atoms]: what a convex function of the cost is at least, between any of `COSTS`; value: float64 [atoms, costs].

    Power is a concave function of the cost. Between two costs a convex function lies above the chords of the intervals before
    and after, extended, and so above the point where they cross.
    """
    width = np.diff(COSTS)
    slope = np.diff(value, axis=1) / width
    before, after, inside = slope[:, :-2], slope[:, 2:], width[1:-1]
    left, right = value[:, 1:-2], value[:, 2:-1]
    turn = np.where(after > before, after - before, 1.0)
    crossing = np.clip((left - right + after * inside) / turn, 0.0, inside)
    between = left + before * crossing
    first = COSTS[0] + value[:, 1] - COSTS[1]  # no interval before it: the smaller cost, and what the larger buys
    last = COSTS[-2] + value[:, -1] - COSTS[-1]
    return np.minimum(between.min(axis=1), np.minimum(first, last))
