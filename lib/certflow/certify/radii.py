"""Radii from class counts: a bound on the probabilities, then the radius that the noise has for them in a norm.

Let p_A be the probability that the base classifier answers A under the noise on an image, and p_B the largest probability of
any other class. Bounds p_lower <= p_A and p_upper >= p_B give the radius that `certflow.noise.radii` knows. Under Gaussian
noise it is sigma/2 (z(p_lower) - z(p_upper)), z the inverse of the normal distribution function (Cohen, Rosenfeld and Kolter
2019, Theorem 1).
"""

import numpy as np
from numpy.typing import ArrayLike

from certflow.certify.bounds import failure_bound, two_bounds
from certflow.noise.base import NoiseSpec
from certflow.noise.kinds.gaussian import Gaussian
from certflow.noise.radii import Norm, shift_of, two_bounds_of
from certflow.noise.radii.checks import checked_coordinates, checked_sigma
from certflow.stats import plug_in_failure
from certflow.stats.complement import complement_down


def radius(noise: NoiseSpec, norm: Norm, p_lower: ArrayLike, dim: int | None = None) -> np.ndarray:
    """The certified radius in `norm` where the selected class has probability at least p_lower under `noise`.

    p_lower: float in [0, 1], any shape. dim: number of coordinates of an image, where the radius depends on it. Returns
    float64 of that shape, in [0,1]-pixel units, rounded down, 0 where p_lower <= 1/2. ValueError for a norm in which no radius
    is known under this noise, a probability out of range, or a missing `dim`.
    """
    p_lower = np.asarray(p_lower)
    if p_lower.dtype.kind not in "fiu" or not ((p_lower >= 0) & (p_lower <= 1)).all():
        raise ValueError("p_lower: must be probabilities from 0 to 1")
    dim = None if dim is None else checked_coordinates(dim)
    return np.asarray(shift_of(noise, norm).radius(1.0 - p_lower.astype(np.float64), noise, dim))[()]


def one_bound_radius(
    k: ArrayLike,
    n: ArrayLike,
    alpha: float,
    noise: NoiseSpec,
    dim: int | None,
    u: ArrayLike | None = None,
    slack: float = 0.0,
    norm: Norm = "l2",
) -> tuple[np.ndarray, np.ndarray]:
    """(radius in `norm`, p_lower), float64, from k hits of the selected class among n draws made after it was selected.

    Arguments as in `failure_bound`; 1 - p_lower bounds every other class. radius is 0 where p_lower <= 1/2, which means:
    abstain. For each image, P(a class is returned and it is not the smoothed prediction on all of the open ball) <= alpha. Both
    numbers are rounded down. ValueError for values out of range, an unknown (noise, norm), or a missing `dim`.
    """
    failure = failure_bound(k, n, alpha, u, slack)
    found, p_lower = radius_below(failure, noise, dim, norm)
    return found[()], p_lower[()]


def radius_below(
    failure: np.ndarray, noise: NoiseSpec, dim: int | None, norm: Norm = "l2"
) -> tuple[np.ndarray, np.ndarray]:
    """(radius in `norm`, p_lower), float64, where the selected class is missed with probability `failure` at most.

    Both are rounded down; radius is 0 where p_lower <= 1/2. Errors as in `one_bound_radius`.
    """
    p_lower = complement_down(failure)
    found = shift_of(noise, norm).radius(failure, noise, dim)
    return np.where(p_lower > 0.5, found, 0.0), p_lower


def two_bound_radius(
    k: ArrayLike,
    k_other: ArrayLike,
    n: ArrayLike,
    alpha: float,
    noise: NoiseSpec,
    dim: int | None,
    u: ArrayLike | None = None,
    u_other: ArrayLike | None = None,
    slack: float = 0.0,
    norm: Norm = "l2",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(radius in `norm`, p_lower, p_upper), float64, from two bounds at level alpha / 2 each (`two_bounds`).

    radius is 0 unless p_lower > p_upper: abstain. p_lower may lie below 1/2. Guarantee and rounding as in `one_bound_radius`.
    With two classes the one-bound form is never worse. ValueError also where the noise has no form with two bounds.
    """
    two = two_bounds_of(noise, norm)
    failure, p_upper = two_bounds(k, k_other, n, alpha, u, u_other, slack)
    p_lower = complement_down(failure)
    found = np.where(p_lower > p_upper, two(failure, p_upper, noise, dim), 0.0)
    return found[()], p_lower[()], p_upper[()]


def gaussian_radius(
    k: ArrayLike, n: ArrayLike, alpha: float, sigma: float, u: ArrayLike | None = None, slack: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """`one_bound_radius` in l2 under Gaussian noise; sigma > 0 in [0,1]-pixel units."""
    return one_bound_radius(k, n, alpha, Gaussian(sigma=checked_sigma(sigma)), None, u, slack)


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
    """`two_bound_radius` in l2 under Gaussian noise; sigma > 0 in [0,1]-pixel units."""
    return two_bound_radius(k, k_other, n, alpha, Gaussian(sigma=checked_sigma(sigma)), None, u, u_other, slack)


def two_bounds_pay(
    k0: ArrayLike,
    k0_other: ArrayLike,
    n0: ArrayLike,
    n: ArrayLike,
    alpha: float,
    noise: NoiseSpec,
    dim: int | None = None,
    norm: Norm = "l2",
) -> np.ndarray:
    """bool: would two bounds give the larger radius if the n draws to come fell like the n0 that were made?

    k0, k0_other: stage-1 counts of the selected class and of the largest other one; n: stage-2 draws (False where 0). All
    broadcast. Decides the form before stage 2 is looked at, which costs nothing; taking the larger radius afterwards would not
    be covered by alpha. Where neither form would certify, the one that lacks less probability. ValueError where the noise has
    no radius from two bounds in this norm.
    """
    radius_of, radius_of_two = shift_of(noise, norm).radius, two_bounds_of(noise, norm)
    k0, k0_other, n0, n = (
        part.astype(np.float64) for part in np.broadcast_arrays(*map(np.asarray, (k0, k0_other, n0, n)))
    )
    n = np.maximum(n, 1.0)
    k, k_other = n * k0 / n0, n * k0_other / n0
    alone = np.asarray(plug_in_failure(k, n, alpha))
    failure, other = (np.asarray(plug_in_failure(count, n, alpha / 2)) for count in (k, n - k_other))
    other = np.minimum(other, failure)
    one, two = radius_of(alone, noise, dim), radius_of_two(failure, other, noise, dim)
    return np.where((one > 0) | (two > 0), two > one, failure + other < 2 * alone)[()]
