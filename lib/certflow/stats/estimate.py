"""What a table will be, from a few draws of each image: an estimate with an interval, never a certificate.

From the label's counts the law of p_label over images is estimated (`certflow.stats.deconvolution`). Certified accuracy at a
radius is then the share of images that N draws would certify: the integral of the power of the Clopper-Pearson test over
that law. The two fits err to different sides where little is known; the estimate is their mean, and the interval is that
of the bootstrap over images, widened by half of their difference at either end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.clopper_pearson import clopper_pearson_failure
from certflow.stats.deconvolution import GRID, Observed, coefficients, density, npmle, observed

EM_STEPS = 200


@dataclass(frozen=True)
class Estimate:
    """Certified accuracies [radii] that N draws per image are estimated to give, and the ends of an interval for what the
    images' population would give; `weights` is the law of z(p_label) on `certflow.stats.deconvolution.GRID`."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray


def certification_power(limits: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """float64 [grid, radii]: how likely n draws prove each radius of an image at each grid point.

    limits: float64 [radii]; a radius holds where misses are rarer than this. Clopper-Pearson bounds at level alpha.
    """
    misses = np.arange(n + 1)
    proven = np.searchsorted(clopper_pearson_failure(n - misses, n, alpha), limits) - 1
    power = special.betainc(n - np.maximum(proven, 0), np.maximum(proven, 0) + 1.0, special.ndtr(GRID)[:, None])
    return np.where(proven >= 0, power, 0.0)


def estimated_accuracy(
    k: ArrayLike,
    n: ArrayLike,
    limits: np.ndarray,
    *,
    draws: int = 100_000,
    alpha: float = 0.001,
    level: float = 0.95,
    resamples: int = 100,
    seed: int = 0,
) -> Estimate:
    """Certified accuracy at each radius, as `draws` draws per image would give it.

    k hits of the label in n draws of each image, whole numbers [images]; the stopping rule may look at k. limits: as in
    `certification_power`. Deterministic in `seed`. Time: about 20 ms * resamples.
    """
    data, power = observed(k, n), certification_power(np.asarray(limits, np.float64), draws, alpha)
    beta = coefficients(data)
    smooth, free = density(beta), npmle(data, EM_STEPS)
    rng, images = np.random.default_rng(seed), int(data.images.sum())
    found = [
        _mean_fit(data.resampled(counts.astype(np.float64)), beta, free) @ power
        for counts in rng.multinomial(images, data.images / images, size=resamples)
    ]
    apart = np.abs((smooth - free) @ power) / 2
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    weights = (smooth + free) / 2
    value = weights @ power
    low, high = np.minimum(low - apart, value), np.maximum(high + apart, value)
    return Estimate(value, np.maximum(low, 0.0), np.minimum(high, 1.0), weights)


def _mean_fit(data: Observed, beta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The mean of both fits, begun from those of all images. A floor keeps every grid point within reach."""
    start = (free + 1e-4 / len(GRID)) / (1 + 1e-4)
    return (density(coefficients(data, start=beta)) + npmle(data, EM_STEPS // 4, start)) / 2
