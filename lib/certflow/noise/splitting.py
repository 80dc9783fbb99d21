"""Splitting noise (Levine and Feizi 2021, "Improved, deterministic smoothing for l1 certified robustness"), without torch.

Every coordinate's line is cut at a random place s and at s ± width, s ± 2 width, …; the classifier is shown, instead of the
value x, the middle of the piece of [0,1] that x lies in. If s is uniform on an interval of that width, moving x by delta puts
it into another piece with probability min(1, |delta| / width), whatever the other coordinates' cuts are. So no class changes
its probability by more than the l1 distance of two images over `width`.
"""

import math
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from certflow.noise.base import Key, NoiseSpec
from certflow.noise.grid import BITS, LEVELS

PARTS = 4 * LEVELS
"""Middles of pieces are whole numbers of 1/PARTS: cuts lie half-way between grey levels, middles half-way between cuts."""
MOST_CUTS = 1 << 14
"""Places of cuts, in half grey levels, are held in 16 bits."""


class Splitting(NoiseSpec):
    """Base of the laws that show middles of pieces. Nothing has standard deviation sigma; it is a label: uniform noise of that
    standard deviation has the same l1 radii at the same probabilities."""

    offers: ClassVar[frozenset[str]] = frozenset()

    sigma: float = Field(gt=0)
    """Noise level: pieces are 2 sqrt(3) sigma wide, in [0,1]-pixel units. 0.15 to 3.5 in the paper."""

    @property
    def width(self) -> float:
        """Distance between two cuts of a coordinate, [0,1]-pixel units: an l1 radius is less than half of it."""
        return 2 * math.sqrt(3) * self.sigma

    @property
    def cuts(self) -> int:
        """L: the number of places, half-way between grey levels, where the first cut may lie in exact arithmetic.

        A width that is meant to be whole in grey levels does not lose a level to rounding.
        """
        return math.floor(self.width * LEVELS + 1e-6)

    @property
    def whole_width(self) -> float:
        """The width in exact arithmetic: L grey levels, never more than `width` but for the rounding of L."""
        return self.cuts / LEVELS

    def pieces(self, levels: Any, key: Key) -> Any:
        """int16 [rows, *shape]: copies in units of 1/PARTS, drawn by whole numbers, for `arithmetic: exact`.

        levels: int16, grey levels of each row's image, [rows, *shape] or [*shape] for all rows.
        """
        raise NotImplementedError

    def exact_problems(self) -> list[str]:
        """Cuts need at least two places between grey levels, and at most `MOST_CUTS`."""
        if 2 <= self.cuts <= MOST_CUTS:
            return []
        least, most = (cuts / (2 * math.sqrt(3) * LEVELS) for cuts in (2, MOST_CUTS))
        return [
            f"cuts between grey levels need a sigma from {math.ceil(1e4 * least) / 1e4:g} to {math.floor(10 * most) / 10:g}, "
            f"got {self.sigma:g}"
        ]

    def distance(self, dim: int) -> float:
        """0: radii follow from the law of one cut as it is drawn (`drawn_exactly`); nothing else has to be given away."""
        return 0.0

    def drawn_exactly(self) -> Self:
        """This law with the width that exact draws guarantee: L grey levels, less what their probabilities exceed 1/L by.

        A change of one grey level crosses one of the L places at most, which are drawn with probabilities up to
        ceil(2**62 / L) / 2**62 each. Rounded down.
        """
        width = self.whole_width * (1 - self.cuts * 2.0**-BITS)
        return self.model_copy(update={"sigma": width / (2 * math.sqrt(3)) * (1 - 1e-15)})


@cache
def thresholds(cuts: int) -> Int64[np.ndarray, " cuts_less_one"]:
    """ceil(i 2**62 / L) for i = 1, ..., L - 1: for u uniform on the integers below 2**62, #{i: T_i <= u} is floor(u L / 2**62).

    Each of 0, ..., L - 1 then has a probability within 2**-62 of 1/L. (See `certflow.noise.steps.inverted`.)
    """
    return np.array([-(-(i << BITS) // cuts) for i in range(1, cuts)], np.int64)
