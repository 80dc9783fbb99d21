"""L2 radii of Gaussian smoothing from class counts (Cohen, Rosenfeld and Kolter 2019).

Let p_A be the probability that the base classifier answers A under noise N(0, sigma^2 I) on the image, and p_B the largest
probability of any other class. The smoothed classifier answers A on the whole open L2 ball of radius

    sigma / 2 * (z(p_A) - z(p_B)),     z = inverse of the normal distribution function             (Theorem 1)

and bounds p_lower <= p_A, p_upper >= p_B may stand in for the probabilities. Nothing smaller than what the arithmetic says is
claimed and nothing larger: each bound is computed at a level a little below alpha (`guarded`), and the radius is cut by 1e-12
of itself, both far above the rounding errors.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats import (
    LARGEST_N,
    clopper_pearson_failure,
    clopper_pearson_upper,
    effective_u,
    plug_in_failure,
    randomized_failure,
    randomized_upper,
)
from certflow.stats.checks import level, whole

RADIUS_GUARD = 1e-12
"""Share of the radius given away to rounding."""


def guarded(alpha: float, n: ArrayLike) -> np.ndarray:
    """The level at which bounds of n draws are computed so that rounding cannot push their error above alpha.

    alpha * (1 - 1e-9) up to n = 1e5, then alpha * (1 - 1e-14 n): at least five times the tail error measured for that n
    (see `certflow.stats.clopper_pearson`). It costs less than 1e-6 * sigma of radius.
    """
    return alpha * (1.0 - 1e-9 * np.maximum(1.0, np.asarray(n) / 1e5))


def gaussian_radius(
    k: ArrayLike, n: ArrayLike, alpha: float, sigma: float, u: ArrayLike | None = None, slack: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Certified L2 radius and p_lower, with 1 - p_lower as the bound on every other class (one-bound form).

    k: count of the selected class among n draws made after it was selected (whole, 0 <= k <= n, n >= 1; they broadcast).
    alpha in (0, 0.5); sigma > 0 in [0,1]-pixel units. u: None for the plain bound L(k, n, alpha); for the randomised one
    (`certflow.stats.randomized`), variates uniform on (0, 1], drawn once per image and independent of its counts. slack in
    [0, 1): by how much the law that was drawn from may differ from Gaussian noise in total variation; every probability's
    bound gives it away. Returns float64 (radius, p_lower): radius = sigma z(p_lower) where p_lower > 1/2, else 0, which
    means: abstain.

    For each image, P(a class is returned and it is not the smoothed prediction on all of the open ball) <= alpha. Both
    numbers are rounded down. ValueError for values outside these ranges.
    """
    alpha, sigma = checked_level(alpha), checked_sigma(sigma)
    failure = _failure(k, n, guarded(alpha, whole("n", n, low=1, high=LARGEST_N)), _checked_u(u, alpha))
    failure = _raised(failure, slack)
    p_lower = _complement_down(failure)
    radius = np.where(p_lower > 0.5, _cut(-sigma * special.ndtri(np.minimum(failure, 0.5))), 0.0)
    return radius[()], p_lower[()]


def gaussian_radius_two_bound(
    k: ArrayLike,
    k_other: ArrayLike,
    n: ArrayLike,
    alpha: float,
    sigma: float,
    u: ArrayLike | None = None,
    u_other: ArrayLike | None = None,
    slack: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Certified L2 radius, p_lower and p_upper from two bounds at level alpha / 2 each (two-bound form).

    k: count of the selected class, k_other: largest count of any other class, in the same n draws (k + k_other <= n). Returns
    float64 (radius, p_lower, p_upper): p_lower = L(k, n, alpha/2), p_upper = min(U(k_other, n, alpha/2), 1 - p_lower), radius =
    sigma/2 (z(p_lower) - z(p_upper)) where p_lower > p_upper, else 0: abstain. p_lower may lie below 1/2.

    No union over the classes is needed: the true runner-up's count is at most k_other and U grows with the count, so p_upper
    covers its probability with probability 1 - alpha/2. With variates u and u_other (both or neither, see `gaussian_radius`)
    both bounds are randomised, each at alpha/2; the upper one grows with the count whatever the variate. Slack, guarantee,
    rounding and errors as in `gaussian_radius`. With two classes the one-bound form is never worse.
    """
    alpha, sigma = checked_level(alpha), checked_sigma(sigma)
    half = guarded(alpha, whole("n", n, low=1, high=LARGEST_N)) / 2
    if (u is None) != (u_other is None):
        raise ValueError("u, u_other: give both variates or none")
    failure = _raised(_failure(k, n, half, _checked_u(u, alpha)), slack)
    other = _raised(_upper(k_other, n, half, _checked_u(u_other, alpha)), slack)
    if (np.asarray(k) + np.asarray(k_other) > np.asarray(n)).any():
        raise ValueError("k_other: the counts of two classes must not exceed n together")
    p_lower, p_upper = _complement_down(failure), np.minimum(other, failure)
    distance = -special.ndtri(failure) - special.ndtri(p_upper)
    radius = np.where((p_lower > p_upper) & (distance > 0), _cut(sigma / 2 * distance), 0.0)
    return radius[()], p_lower[()], p_upper[()]


def two_bounds_pay(k0: ArrayLike, k0_other: ArrayLike, n0: ArrayLike, n: ArrayLike, alpha: float) -> np.ndarray:
    """bool: would two bounds give the larger radius if the n draws to come fell like the n0 that were made?

    k0, k0_other: stage-1 counts of the selected class and of the largest other one; n: stage-2 draws (False where 0). All
    broadcast. Decides the form before stage 2 is looked at, which costs nothing; taking the larger radius afterwards would not
    be covered by alpha.
    """
    k0, k0_other, n0, n = (
        part.astype(np.float64) for part in np.broadcast_arrays(*map(np.asarray, (k0, k0_other, n0, n)))
    )
    n = np.maximum(n, 1.0)
    k, k_other = n * k0 / n0, n * k0_other / n0
    one = -special.ndtri(plug_in_failure(k, n, alpha))
    failure, other = plug_in_failure(k, n, alpha / 2), plug_in_failure(n - k_other, n, alpha / 2)
    two = -(special.ndtri(failure) + special.ndtri(np.minimum(other, failure))) / 2
    return two > one


def checked_level(alpha: float) -> float:
    """`alpha` as a float, if it lies in (0, 0.5); ValueError otherwise."""
    return float(level("alpha", alpha, high=0.5))


def checked_sigma(sigma: float) -> float:
    """`sigma` as a float, if it is finite and positive; ValueError otherwise."""
    if isinstance(sigma, bool | str) or not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma: must be finite and above 0 (without noise nothing is smoothed), got {sigma!r}")
    return float(sigma)


def _checked_u(u: ArrayLike | None, alpha: float) -> np.ndarray | None:
    """The variates as they are used; ValueError where they do not lie in (0, 1]."""
    if u is None:
        return None
    u = np.asarray(u, np.float64)
    if not ((u > 0) & (u <= 1)).all():
        raise ValueError("u: variates must lie in (0, 1]")
    return effective_u(u, alpha)


def _failure(k: ArrayLike, n: ArrayLike, level: np.ndarray, u: np.ndarray | None) -> np.ndarray:
    """Upper bound on the probability of all other classes."""
    return np.asarray(clopper_pearson_failure(k, n, level) if u is None else randomized_failure(k, n, level, u))


def _upper(k: ArrayLike, n: ArrayLike, level: np.ndarray, u: np.ndarray | None) -> np.ndarray:
    """Upper bound on the probability of a class with k hits."""
    return np.asarray(clopper_pearson_upper(k, n, level) if u is None else randomized_upper(k, n, level, u))


def _raised(bound: np.ndarray, slack: float) -> np.ndarray:
    """Upper bounds on probabilities, larger by `slack`, rounded up."""
    if isinstance(slack, bool | str) or not 0 <= slack < 1:
        raise ValueError(f"slack: must lie in [0, 1), got {slack!r}")
    return np.minimum(np.nextafter(bound + slack, np.inf), 1.0) if slack else bound


def _complement_down(failure: np.ndarray) -> np.ndarray:
    """1 - failure, rounded down: for failure <= 1/2 the difference 1 - (1 - failure) is exact and shows a rounding up."""
    nearest = 1.0 - failure
    return np.where(1.0 - nearest < failure, np.nextafter(nearest, 0.0), nearest)


def _cut(radius: np.ndarray) -> np.ndarray:
    return np.maximum(radius, 0.0) * (1.0 - RADIUS_GUARD)
