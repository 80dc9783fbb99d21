"""The exact certificate of splitting with dependent noise (Levine and Feizi 2021, section 4): nothing is left to chance.

Changing one coordinate of an 8-bit image by one grey level changes one outcome at most (`certflow.noise.kinds.dssn`), so each
class's count moves by at most the l1 distance in grey levels. Let class c1 lead with n1 votes and c2 follow with n2, the lowest
index first among equals. While n1 - n2 > 2 levels, c1 stays ahead; at equality it wins if c1 < c2. Hence the radius

    floor((n1 - n2 - [c2 < c1]) / 2) levels.

No third class can win earlier: with a vote less and a lower index it has the same bound.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from certflow.certify.base import CertificateSpec, Claim, Drawn
from certflow.certify.counts import CountsError
from certflow.kinds.registry import register
from certflow.noise.grid import LEVELS

if TYPE_CHECKING:
    import pandas as pd


@register("dssn")
class DependentSplittingCertificate(CertificateSpec):
    """Class and l1 radius of the smoothed classifier itself, from its counts of all outcomes. It never abstains.

    They hold for perturbed images that are 8-bit images at the network's input size, on the device and in the precision that
    the counts were made with.
    """

    kind: Literal["dssn"] = "dssn"
    needs: ClassVar[frozenset[str]] = frozenset({"levelwise"})
    exhaustive: ClassVar[bool] = True
    takes_slack: ClassVar[bool] = True
    norm: Literal["l1"] = "l1"
    """The norm of the radii."""
    alpha: Literal[0.0] = 0.0  # ty: ignore[invalid-type-form]  # pydantic takes numbers, too
    """Always 0: nothing is left to chance."""
    grid: bool = False
    """False: radii are whole grey levels over 255, as in the paper. True: up to just below the next level, as 8-bit images
    move in whole levels; certified accuracy at radii between the levels can then be up to 0.3 points higher."""

    def claim(self, drawn: Drawn) -> Claim:
        """See `CertificateSpec.claim`."""
        return Claim(norm=self.norm, alpha=0.0, domain="8-bit grid")

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. Further columns: selected (the class it chose), other and k_other (the runner-up and
        its votes) and, where the sampler has a margin, unsure (votes that were counted against the radius, 2 each)."""
        import pandas as pd

        planned = drawn.planned
        _check_complete(planned.n, drawn.noise.outcomes)
        sampled, n = planned.sampled, np.maximum(planned.n, 1)
        first, second = leaders(planned.counts)
        k, k_other = planned.count_of(first), planned.count_of(second)
        levels = certified_levels(first, k, second, k_other, drawn.extra.get("unsure"))
        certified = sampled & (levels >= 0)
        return pd.DataFrame(
            {
                **planned.verdict(certified, first),
                "radius": np.where(certified, self._radius(levels), 0.0),
                "p_lower": k / n,
                "p_upper": np.where(sampled, k_other / n, 1.0),
                "selected": first,
                "other": second,
                "k_other": k_other,
                **{name: drawn.extra[name] for name in ("unsure",) if name in drawn.extra},
            }
        )

    def _radius(self, levels: np.ndarray) -> np.ndarray:
        """Radii in [0,1]-pixel units; with `grid` the largest one whose ball holds no further 8-bit images."""
        return np.nextafter((levels + 1) / LEVELS, 0) if self.grid else levels / LEVELS


def _check_complete(n: np.ndarray, outcomes: int | None) -> None:
    """CountsError unless every outcome of each image was counted, or none."""
    wrong = n[(n != outcomes) & (n > 0)]
    if len(wrong):
        raise CountsError(f"n is {wrong[0]}, but the noise has {outcomes} outcomes, each of which must be counted once")


def leaders(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [images] each: the class with the most votes, and the one after it; the lowest index first among equals."""
    order = np.argsort(-counts, kind="stable")
    return order[:, 0], order[:, 1]


def certified_levels(
    first: np.ndarray, k: np.ndarray, second: np.ndarray, k_other: np.ndarray, unsure: np.ndarray | None = None
) -> np.ndarray:
    """int64 [images]: by how many grey levels in total an image may be moved; negative where unsure votes can turn the class.

    unsure: votes that may go from any class to any other. Each can cost the leader one vote and give the runner-up one.
    """
    against = 0 if unsure is None else 2 * unsure
    return (k - k_other - (second < first) - against) // 2
