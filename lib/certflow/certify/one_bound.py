"""The radius that one lower bound on p_A gives, for every noise that has one."""

from typing import Any

import numpy as np

from certflow.certify.radii import gaussian_radius
from certflow.noise.base import NoiseSpec


def one_bound_radius(
    k: np.ndarray, n: np.ndarray, alpha: float, noise: NoiseSpec, dim: int | None, u: Any = None, slack: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Certified l2 radius and p_lower from k hits of the selected class among n draws of `noise`, as `gaussian_radius`.

    Gaussian: `gaussian_radius`. Generalised Gaussian with exponent k > 0: the same bound, and the radius of
    `certflow.certify.gg_np_radius` in `dim` coordinates. ValueError where dim is needed and not given.
    """
    radius, p_lower = gaussian_radius(k, n, alpha, noise.sigma, u, slack)
    exponent = getattr(noise, "k", 0)
    if exponent:
        from certflow.certify.double_sampling.radius import gg_np_radius

        radius = gg_np_radius(p_lower, needed_dimension(dim, noise), exponent, noise.sigma)
    return radius, p_lower


def needed_dimension(dim: int | None, noise: NoiseSpec) -> int:
    """`dim`, or a ValueError that says who needs it."""
    if dim is None:
        raise ValueError(
            f"dim: radii under {noise.kind} noise depend on the number of coordinates of an image; give it"
        )
    return int(dim)
