"""The L2 certificate of Gaussian smoothing (Cohen, Rosenfeld and Kolter 2019, CERTIFY)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from lib.certify.base import NOTHING, CertificateSpec
from lib.noise.base import NoiseSpec
from lib.registry import register
from lib.spec import Spec
from lib.stats.limits import LARGEST_N, smallest_n_to_certify

if TYPE_CHECKING:
    import pandas as pd

    from lib.certify.counts import PlannedCounts

NOISES = ("gaussian",)


@register("neyman_pearson")
class NeymanPearson(CertificateSpec):
    """Radius sigma z(p_lower) from a Clopper-Pearson bound on fresh draws; abstains unless the bound exceeds 1/2.

    Tight for what it knows, the probability of the selected class (Cohen et al. 2019, Theorems 1 and 2).
    """

    kind: Literal["neyman_pearson"] = "neyman_pearson"
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Failure probability allowed per image. 0.001 in the papers (some of Cohen's published files used 0.01)."""
    bound_form: Literal["one", "two"] = "one"
    """`one`: every other class is bounded by 1 - p_lower, as in all papers' tables. `two`: the runner-up has its own bound,
    each at alpha/2: larger radii where the rest spreads over several classes, slightly smaller ones else. State it before."""

    def problems(self, noise: NoiseSpec, sampler: Spec) -> list[str]:
        """The noise must be Gaussian, and the sampler's n, where it is fixed, must be able to certify something."""
        found = self._noise_problems(noise)
        n, least = getattr(sampler, "n", None), smallest_n_to_certify(self._level())
        if n is not None and n < least:
            found.append(f"n={n} draws can never certify at alpha={self.alpha:g}; at least n={least} are needed")
        if n is not None and n > LARGEST_N:
            found.append(f"n={n} draws are more than bounds are computed for; at most n={LARGEST_N}")
        return found

    def certify(
        self,
        plan: "pd.DataFrame",
        counts: np.ndarray,
        noise: NoiseSpec,
        *,
        seed: int = 0,
        extra: Mapping[str, np.ndarray] = NOTHING,
    ) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. ValueError for counts that do not fit the plan, and for two classes with `two`."""
        import pandas as pd

        from lib.certify.counts import planned_counts

        for problem in self._noise_problems(noise):
            raise ValueError(problem)
        planned = planned_counts(plan, counts)
        if self.bound_form == "two" and planned.classes == 2:
            raise ValueError("bound_form: two bounds are never better than one with two classes; use `bound_form: one`")
        k, sampled = planned.selected_count(), planned.sampled
        radius, p_lower, p_upper = np.zeros(len(k)), np.zeros(len(k)), np.ones(len(k))
        if sampled.any():
            radius[sampled], p_lower[sampled], p_upper[sampled] = self._bounds(planned, k, noise.sigma)
        certified = sampled & (p_lower > p_upper)
        return pd.DataFrame(
            {
                "predict": np.where(certified, planned.selected, -1),
                "radius": radius,
                "p_lower": p_lower,
                "p_upper": p_upper,
                "k": k,
                "reason": np.where(certified, "", np.where(sampled, "low_pA", "not_sampled")),
                "saturated": sampled & (k == planned.n),
            }
        )

    def _bounds(
        self, planned: "PlannedCounts", k: np.ndarray, sigma: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """radius, p_lower, p_upper of the images that were sampled."""
        from lib.certify.radii import gaussian_radius, gaussian_radius_two_bound

        sampled = planned.sampled
        k, n = k[sampled], planned.n[sampled]
        if self.bound_form == "one":
            radius, p_lower = gaussian_radius(k, n, self.alpha, sigma)
            return radius, p_lower, 1.0 - p_lower
        return gaussian_radius_two_bound(k, planned.largest_other_count()[sampled], n, self.alpha, sigma)

    def _noise_problems(self, noise: NoiseSpec) -> list[str]:
        if noise.kind in NOISES:
            return []
        return [f"No neyman_pearson certificate for noise kind {noise.kind}; known: {', '.join(NOISES)}"]

    def _level(self) -> float:
        """The level of one bound."""
        return self.alpha if self.bound_form == "one" else self.alpha / 2
