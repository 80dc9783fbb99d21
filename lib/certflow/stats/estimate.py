"""What a table will be, from a few draws of each image: an estimate with an interval, never a certificate.

From the label's counts the law of p_label over images is estimated (`certflow.stats.deconvolution`). Whatever a table says is
then the mean over that law of what N draws would do for an image: certified accuracy at a radius that of the power of the
Clopper-Pearson test, the average certified radius that of the expected radius.

The interval is for the population that the images come from, and has Wilson's form (1927), which holds near 0 and 1 too. Two
errors are in it, that of images and draws, and that of smoothing: an edge in the true law is shifted, differently at each
radius and for each law. In simulations on published tables (`benchmarks/estimate.py`) the root mean square of these shifts is
0.5 points where about half of the images are certified, 0.1 where nearly all are, and the largest 1.1; `SHIFT` stands for
them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from certflow.stats.clopper_pearson import clopper_pearson_failure
from certflow.stats.crossing import first_good
from certflow.stats.deconvolution import GRID, Law, law_of, observed
from certflow.stats.limits import USUAL_ALPHA

SHIFT = 0.017
"""Standard deviation of what smoothing shifts, as a share of that of a coin with the estimated mean: 0.85 points at an accuracy
of 50 %, 0.37 at 95 %."""
P = special.ndtr(GRID)
"""Probabilities that a law is about."""
RARE = 3
"""Images of a kind of which a sample may well hold none: with 3 expected, it does so in e^-3 = 5 % of samples."""
REACH = 2.5
"""Probits of p up to which accuracies are estimated. With so few draws, images beyond look alike."""
EDGE = float(special.ndtr(-REACH)) * (1 - 1e-9)
"""The smallest limit within reach."""


@dataclass(frozen=True)
class Estimate:
    """Estimated numbers and the ends of their intervals, float64 arrays of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def certification_power(limits: np.ndarray, n: int, alpha: float, p: np.ndarray = P) -> np.ndarray:
    """float64 [images, radii]: how likely n draws prove each radius of images whose label has the probabilities p.

    limits: float64 [radii]; a radius holds where misses are rarer than this. Clopper-Pearson bounds at level alpha.
    """
    allowed = most_misses(limits, n, alpha)
    return np.where(allowed >= 0, special.betainc(n - allowed, allowed + 1.0, p[:, None]), 0.0)


def most_misses(limits: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """int64 [radii]: the most misses in n draws that still prove each limit, -1 where none do. By bisection."""
    high = np.full(np.shape(limits), n)
    return first_good(-1, high, lambda misses: ~(clopper_pearson_failure(n - misses, n, alpha) < limits)) - 1


def estimated_accuracy(
    k: ArrayLike, n: ArrayLike, limits: ArrayLike, *, draws: int = 100_000, alpha: float = USUAL_ALPHA
) -> Estimate:
    """Certified accuracy at each radius, as `draws` draws per image would give it, with a 95 % interval.

    k hits of the label in n draws of each image, whole numbers [images]; the stopping rule may look at k. limits: as in
    `certification_power`. A radius beyond `REACH` has no value (NaN), and the interval from 0 to the upper end at `REACH`:
    certified accuracy never grows with the radius. ValueError for counts, draws or alpha that no bound is known for.
    """
    return accuracy_under(law_of(observed(k, n)), limits, draws, alpha)


def accuracy_under(law: Law, limits: ArrayLike, draws: int, alpha: float) -> Estimate:
    """As `estimated_accuracy`, where the law is known already."""
    limits = np.asarray(limits, np.float64)
    within = limits >= EDGE
    reached = np.where(within, limits, EDGE)
    found = _interval(law, certification_power(reached, draws, alpha))
    return Estimate(np.where(within, found.value, np.nan), np.where(within, found.low, 0.0), found.high)


def radius_under(law: Law, radii: np.ndarray, limits: np.ndarray, draws: int, alpha: float) -> Estimate:
    """The average certified radius that `draws` draws per image would give, with a 95 % interval: numbers without a dimension.

    radii: float64 [points], from 0 to at least the largest that so many draws can prove; limits: what each needs. The value
    takes the law's word for images beyond `REACH`. The interval does not: at its lower end none of them has a larger radius
    than that of `REACH`, at its upper end all have the largest that the draws can prove.
    """
    limits = np.asarray(limits, np.float64)
    within, power = limits >= EDGE, certification_power(limits, draws, alpha)
    farthest = certification_power(np.array([EDGE]), draws, alpha) * power.any(axis=0)  # up to what the draws can prove
    powers = np.stack([power, power * within, np.where(within, power, farthest)], axis=1)
    found = _interval(law, np.trapezoid(powers, radii, axis=2))
    return Estimate(found.value[0], found.low[1], found.high[2])


def _interval(law: Law, values: np.ndarray) -> Estimate:
    """Mean and interval of what an image contributes, [grid, ...], from 0 to some most.

    The error is the jackknife's, and at least what it would be if every image's probability were known. Where all images show
    the same counts both find next to none, though there may be other images: it is at least that of a coin where up to `RARE`
    images would make the mean what it is, and of so many coins among the images elsewhere.
    """
    value, error = law.mean(values)
    most, images = values.max(axis=0), law.images.sum()
    variance = np.maximum(np.square(error), law.weights @ np.square(values - value) / images)
    share = np.clip(value / np.where(most > 0, most, 1.0), 0.0, 1.0)
    room = share * (1 - share)
    coins = np.minimum(RARE / np.maximum(images * room, RARE), 1.0) / images
    relative = np.maximum(np.divide(variance, room * most**2, out=coins.copy(), where=room * most > 0), coins)
    ratio = special.ndtri(0.975) ** 2 * (relative + SHIFT**2)  # z^2 over the number of coins that would tell as much
    centre, half = (share + ratio / 2) / (1 + ratio), np.sqrt(ratio * (room + ratio / 4)) / (1 + ratio)
    low, high = np.maximum(centre - half, 0.0) * most, np.minimum(centre + half, 1.0) * most
    return Estimate(value, np.minimum(low, value), np.maximum(high, value))
