"""What every certificate offers: radii from counts, as a pure function."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    import pandas as pd


NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})
"""No further arrays."""


class CertificateSpec(Spec):
    """Base of all certificates. Torch-free, vectorised over images."""

    family: ClassVar[str] = "certificate"
    norm: ClassVar[str] = "l2"
    """The norm in which radii are stated, in [0,1]-pixel units of the raw image."""
    sequential: ClassVar[bool] = False
    """Whether it holds for counts that were stopped by what they looked like, and reads those alone."""
    takes_slack: ClassVar[bool] = False
    """Whether `certify` has an argument `slack`: what every probability may be off by, which its bounds give away. Without it
    counts of `arithmetic: exact` are refused."""

    sampler: str
    """Name of the sampler entry whose counts are certified."""
    alpha: float
    """Failure probability allowed per image."""

    def problems(self, noise: NoiseSpec, sampler: Spec) -> list[str]:
        """Why this certificate cannot be computed from draws of this noise by this sampler (empty: it can)."""
        return []

    def certify(
        self,
        plan: "pd.DataFrame",
        counts: np.ndarray,
        noise: NoiseSpec,
        *,
        seed: int = 0,
        extra: Mapping[str, np.ndarray] = NOTHING,
        dim: int | None = None,
    ) -> "pd.DataFrame":
        """Radii of all images.

        plan: columns idx, label, selected, k0, n0, n and what the sampler adds (one row per image). counts: int64 [images,
        classes] of stage 2, each row summing to that image's n. seed: the run's seed, under which a randomised bound draws its
        variate. extra: further arrays of the counts file by name, one row per image. dim: number of
        coordinates of an image, on which some radii depend.

        Returns columns predict (-1 = abstain), radius (0 where it abstains), p_lower, p_upper, k (count of the selected class),
        reason (empty, `low_pA` or `not_sampled`), saturated (bool) and whatever else the certificate has to say.
        """
        raise NotImplementedError


def pairing_problems(certificate: CertificateSpec, noise: NoiseSpec, sampler: Spec) -> list[str]:
    """Why this certificate cannot be had from draws of this noise by this sampler (empty: it can).

    Asked before anything runs, and again when counts are certified: a bound for a fixed number of draws fails for counts that
    stopped when they looked good, and nothing in the counts would show it.
    """
    if certificate.sequential != sampler.sequential:
        fit = "sequential" if sampler.sequential else "one for a fixed number of draws, such as neyman_pearson"
        return [f"counts of a {sampler.kind} sampler need another certificate: {fit}"]
    return [*certificate.problems(noise, sampler), *exact_problems(certificate, noise, sampler)]


def exact_problems(certificate: CertificateSpec, noise: NoiseSpec, sampler: Spec) -> list[str]:
    """Why this sampler's arithmetic suits neither the noise nor the certificate (empty: it does)."""
    if getattr(sampler, "arithmetic", "float") == "float":
        return []
    found = noise.exact_problems()
    if not certificate.takes_slack:
        found.append(
            f"certificates of kind {certificate.kind} know no exact noise; use a sampler with `arithmetic: float`"
        )
    return found
