"""What every radius gives away to rounding, and refusing arguments that no radius is defined for."""

import math

import numpy as np

from certflow.noise.base import NoiseSpec
from certflow.noise.scaled import Scaled

RADIUS_GUARD = 1e-12
"""Share of the radius given away to rounding."""
LEAST_DIMENSION = 8
"""Below, the angle's law has kinks that the quadrature does not resolve."""


def cut(radius: np.ndarray) -> np.ndarray:
    """The radius less the share given away to rounding; never negative."""
    return np.maximum(radius, 0.0) * (1.0 - RADIUS_GUARD)


def raised(radii: np.ndarray) -> np.ndarray:
    """What a failure in closed form is computed for, so that it certifies the radii themselves after `cut`."""
    return radii * (1 + 2 * RADIUS_GUARD)


def below(failure: np.ndarray) -> np.ndarray:
    """The next smaller failure; 1/2, which certifies radius 0, stays. Near 1/2 the rounding of a failure is any share of a
    small radius, so that no share of the radius that is given away covers it."""
    return np.where(failure < 0.5, np.nextafter(failure, 0.0), failure)


def checked_sigma(sigma: float) -> float:
    """`sigma` as a float, if it is finite and positive; ValueError otherwise."""
    if isinstance(sigma, bool | str) or not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma: must be finite and above 0 (without noise nothing is smoothed), got {sigma!r}")
    return float(sigma)


def scale(noise: Scaled, dim: int | None = 1) -> float:
    """λ of a law, in [0,1]-pixel units. dim: number of coordinates; where they are independent, λ is that of one.

    ValueError for a missing `dim`.
    """
    return noise.scale(needed_dimension(dim, noise))


def checked_dimension(d: int, k: int) -> tuple[int, int]:
    """d and k as int, if d >= 8 and 0 <= k < d/2, both whole; ValueError otherwise."""
    for name, value in (("d", d), ("k", k)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name}: must be a whole number, got {value!r}")
    if d < LEAST_DIMENSION:
        raise ValueError(f"d: radii are computed for {LEAST_DIMENSION} coordinates or more, got {d}")
    if k < 0 or 2 * k >= d:
        raise ValueError(f"k: must be from 0 to below d/2 = {d / 2:g} (the density could not be normalised), got {k}")
    return int(d), int(k)


def checked_coordinates(dim: int) -> int:
    """`dim` as an int, if it is a number of coordinates that an image can have; ValueError otherwise."""
    whole = isinstance(dim, int | np.integer) and not isinstance(dim, bool)
    if not whole or dim < 1:
        raise ValueError(f"dim: must be the number of coordinates of an image, whole and at least 1, got {dim!r}")
    return int(dim)


def needed_dimension(dim: int | None, noise: NoiseSpec) -> int:
    """`dim`, or a ValueError that says what needs it."""
    if dim is None:
        raise ValueError(
            f"dim: radii under {noise.kind} noise depend on the number of coordinates of an image; give it"
        )
    return checked_coordinates(dim)
