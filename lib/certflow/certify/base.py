"""What every certificate offers: radii from counts, as a pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from certflow.certify.counts import PlannedCounts, planned_counts
from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import Arithmetic, SamplerSpec
from certflow.stats.limits import LARGEST_N

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Drawn:
    """What a certificate is computed from: the plan, the counts of stage 2, and the law that they were drawn from."""

    plan: "pd.DataFrame"
    """Columns idx, label, selected, k0, n0, n and what the sampler adds; one row per image."""
    counts: np.ndarray
    """int64 [images, classes]; each row sums to that image's n."""
    noise: NoiseSpec
    dim: int | None = None
    """Number of coordinates of an image, on which some radii depend."""
    seed: int = 0
    """The run's seed, under which a randomised bound draws its variate."""
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further arrays of the counts file by name, one row per image."""
    slack: float = 0.0
    """By how much every probability may be wrong, because exact noise only approximates its law (total variation)."""
    exact: bool = False
    """Whether the noise was drawn in whole grey levels."""

    @cached_property
    def planned(self) -> PlannedCounts:
        """Plan and counts, checked against each other; `CountsError` where they do not fit."""
        return planned_counts(self.plan, self.counts)


def drawn_from(
    plan: "pd.DataFrame",
    arrays: Mapping[str, np.ndarray],
    noise: NoiseSpec,
    dim: int,
    seed: int,
    arithmetic: Arithmetic,
) -> Drawn:
    """What a certificate is computed from: a plan's rows and the arrays of stage 2, `counts` and what the sampler adds."""
    extra = {name: values for name, values in arrays.items() if name not in ("idx", "counts", "seconds")}
    if "drawn" in extra:  # a stopping rule drew fewer than the plan allowed
        plan = plan.assign(n=extra["drawn"])
    exact = arithmetic == "exact"
    slack = noise.distance(dim) if exact else 0.0  # exact noise may miss the ideal law by so much
    law = noise.drawn_exactly() if exact else noise
    return Drawn(plan, arrays["counts"], law, dim, seed, extra, slack, exact)


@dataclass(frozen=True)
class Claim:
    """What the radii of a table say."""

    norm: Norm
    """The norm of the balls, in [0,1]-pixel units of the raw image."""
    alpha: float
    """Probability per image that its radius is wrong."""
    domain: Literal["real", "8-bit grid"]
    """Which points of the ball are certified: all, up to the rounding of floating-point noise; or its 8-bit images, exactly."""


class CertificateSpec(Spec):
    """Base of all certificates. Torch-free, vectorised over images."""

    family: ClassVar[str] = "certificate"
    needs: ClassVar[frozenset[str]] = frozenset()
    """What the noise must offer (`NoiseSpec.offers`) for this certificate to hold."""
    fixed: ClassVar[bool] = True
    """Whether it can be computed from a number of draws that was fixed beforehand."""
    sequential: ClassVar[bool] = False
    """Whether it holds for counts that were stopped by what they looked like."""
    preset: ClassVar[bool] = False
    """Whether its radii are among those that the sampler lists, so that nothing is known of others."""
    exhaustive: ClassVar[bool] = False
    """Whether it is computed from counts of every outcome of the noise, from which it chooses the class itself."""
    takes_slack: ClassVar[bool] = False
    """Whether its bounds allow for `Drawn.slack`; if not, counts of `arithmetic: exact` are refused."""

    sampler: str
    """Name of the sampler entry whose counts are certified."""
    alpha: float
    """Failure probability allowed per image."""
    norm: Norm = "l2"
    """The norm in which radii are stated."""

    @property
    def judges_label(self) -> bool:
        """Whether the certificates are about each image's label, and not about the class that stage 1 selected."""
        return False

    def claim(self, drawn: Drawn) -> Claim:
        """What the radii of `certify` say."""
        return Claim(norm=self.norm, alpha=self.alpha, domain="8-bit grid" if drawn.exact else "real")

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """Why this certificate cannot be computed from draws of this noise by this sampler (empty: it can)."""
        return noise.lacks(self.needs)

    def least_draws(self) -> int:
        """Draws of an image without which it gets no radius, even if all of them are hits."""
        return 1

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """Radii of all images.

        Returns columns radius (0 where it abstains), p_lower and p_upper; predict (-1 = abstain), k (count of the class),
        reason (empty, `low_pA` or `not_sampled`) and saturated (bool: all draws gave the class), which
        `PlannedCounts.verdict` makes; and further columns of its own.
        """
        raise NotImplementedError


def pairing_problems(certificate: CertificateSpec, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
    """Why this certificate cannot be computed from this sampler's draws of this noise (empty: it can).

    Asked before anything runs, and again when counts are certified: a bound for a fixed number of draws fails for counts that
    stopped when they looked good, and nothing in the counts would show it.
    """
    if sampler.enumerates and not certificate.exhaustive:
        return [f"counts of all outcomes leave nothing to chance: {certificate.kind} is for draws; use dssn"]
    if certificate.exhaustive and not sampler.enumerates:
        return [f"needs counts of all outcomes: a sampler of kind enumerated, not {sampler.kind}"]
    if not certificate.exhaustive and not (certificate.sequential if sampler.sequential else certificate.fixed):
        fit = (
            "sequential or anytime" if sampler.sequential else "one for a fixed number of draws, such as neyman_pearson"
        )
        return [f"counts of a {sampler.kind} sampler need another certificate: {fit}"]
    found = [*certificate.problems(noise, sampler), *draws_problems(certificate, sampler)]
    return [*found, *exact_problems(certificate, noise, sampler)]


def draws_problems(certificate: CertificateSpec, sampler: SamplerSpec) -> list[str]:
    """Why this sampler's (largest) number of draws does not suit the certificate (empty: it does)."""
    n, least = sampler.draws, certificate.least_draws()
    if n is None:
        return []
    if n < least:
        return [f"n={n} draws can never certify at alpha={certificate.alpha:g}; at least n={least} are needed"]
    n += sampler.second_draws  # which may go to the first law, too
    if n > LARGEST_N:
        return [f"n={n} draws are more than bounds are computed for; at most n={LARGEST_N}"]
    return []


def exact_problems(certificate: CertificateSpec, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
    """Why this sampler's arithmetic does not suit the noise or the certificate (empty: it suits both)."""
    if sampler.arithmetic == "float":
        return []
    found = noise.exact_problems()
    if not certificate.takes_slack:
        found.append(
            f"certificates of kind {certificate.kind} cannot use exact noise; use a sampler with `arithmetic: float`"
        )
    return found
