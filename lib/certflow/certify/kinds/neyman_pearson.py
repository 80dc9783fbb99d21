"""The certificate of one bound on the selected class (Cohen, Rosenfeld and Kolter 2019), in any norm."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from certflow.certify.base import CertificateSpec, Drawn
from certflow.certify.counts import CountsError, PlannedCounts
from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import USUAL_ALPHA, smallest_n_to_certify

if TYPE_CHECKING:
    import pandas as pd


@register("neyman_pearson")
class NeymanPearson(CertificateSpec):
    """The radius of a Clopper-Pearson bound on fresh draws; abstains unless the bound exceeds 1/2.

    Under Gaussian noise it is sigma z(p_lower) in l2, tight for what it knows, the probability of the selected class (Cohen et
    al. 2019, Theorems 1 and 2). Other laws and norms: `certflow.noise.radii`.
    """

    kind: Literal["neyman_pearson"] = "neyman_pearson"
    takes_slack: ClassVar[bool] = True
    alpha: Alpha = USUAL_ALPHA
    """Failure probability allowed per image. 0.001 in the papers (some of Cohen's published files used 0.01)."""
    bound: Literal["plain", "randomized"] = "plain"
    """`randomized`: the bound uses its level up with one coin per image, drawn from (seed, image) and written to the table as
    `u`, beside `radius_plain`. Radii grow by 0.05 sigma on average where every draw hits, by half of that where one misses, by
    a tenth where twenty do, and hardly where many do."""
    bound_form: Literal["one", "two", "auto"] = "one"
    """`one`: every other class is bounded by 1 - p_lower, as in all papers' tables. `two`: the runner-up has its own bound,
    each at alpha/2: larger radii where the rest spreads over several classes, slightly smaller ones else. `auto`: whichever
    stage 1 promises more from, image by image; what it chose stands in the column `bound_form`."""

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """The noise must have a radius."""
        return self._noise_problems(noise)

    def least_draws(self) -> int:
        """See `CertificateSpec.least_draws`."""
        return smallest_n_to_certify(self._level())

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. ValueError for counts that do not fit the plan, and for two classes with `two`."""
        import pandas as pd

        for problem in self._noise_problems(drawn.noise):
            raise ValueError(problem)
        planned = drawn.planned
        if self.bound_form == "two" and planned.classes == 2:
            raise ValueError("bound_form: two bounds are never better than one with two classes; use `bound_form: one`")
        two, u = self._two_bounds(drawn), self._variates(planned, drawn.seed)
        radius, p_lower, p_upper = self._bounds(drawn, two, u)
        table = pd.DataFrame(
            {
                **planned.verdict(p_lower > p_upper, planned.selected),
                "radius": radius,
                "p_lower": p_lower,
                "p_upper": p_upper,
            }
        )
        if self.bound_form == "auto":
            table["bound_form"] = np.where(two, "two", "one")
        if u is not None:
            table["radius_plain"] = self._bounds(drawn, two, None)[0]
            table["u"], table["u_other"] = u.T
        return table

    def _two_bounds(self, drawn: Drawn) -> np.ndarray:
        """bool [images]: which images get a bound on the runner-up, decided without stage 2."""
        from certflow.certify.radii import two_bounds_pay

        planned = drawn.planned
        if self.bound_form != "auto" or planned.classes == 2:
            return np.full(len(planned.idx), self.bound_form == "two")
        if "k0_other" not in drawn.plan.columns:
            raise CountsError("the plan lacks the column k0_other, from which `bound_form: auto` decides; plan again")
        k0, k0_other, n0 = (drawn.plan[name].to_numpy(np.int64) for name in ("k0", "k0_other", "n0"))
        pay = two_bounds_pay(k0, k0_other, n0, planned.n, self.alpha, drawn.noise, drawn.dim, self.norm)
        return (planned.n > 0) & pay

    def _variates(self, planned: PlannedCounts, seed: int) -> np.ndarray | None:
        """float64 [images, 2]: one uniform variate for each of an image's two bounds, a function of (seed, image) alone."""
        if self.bound == "plain":
            return None
        from certflow.noise.streams import Stream
        from certflow.noise.variates import image_uniforms
        from certflow.stats import effective_u

        return effective_u(image_uniforms(planned.idx, seed=seed, stream=Stream.BOUND)[:, :2], self.alpha)

    def _bounds(self, drawn: Drawn, two: np.ndarray, u: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """radius, p_lower, p_upper of all images; 0, 0, 1 for those that were not sampled."""
        from certflow.certify.radii import one_bound_radius, two_bound_radius

        planned = drawn.planned
        k, k_other = planned.selected_count(), planned.largest_other_count()
        radius, p_lower, p_upper = np.zeros(len(k)), np.zeros(len(k)), np.ones(len(k))
        one, both = planned.sampled & ~two, planned.sampled & two
        rest = {"slack": drawn.slack, "norm": self.norm}
        if one.any():
            counted, coins = (k[one], planned.n[one]), None if u is None else u[one, 0]
            found = one_bound_radius(*counted, self.alpha, drawn.noise, drawn.dim, coins, **rest)
            radius[one], p_lower[one] = found
            p_upper[one] = 1.0 - p_lower[one]
        if both.any():
            counted, coins = (k[both], k_other[both], planned.n[both]), (None, None) if u is None else u[both].T
            found = two_bound_radius(*counted, self.alpha, drawn.noise, drawn.dim, *coins, **rest)
            radius[both], p_lower[both], p_upper[both] = found
        return radius, p_lower, p_upper

    def _noise_problems(self, noise: NoiseSpec) -> list[str]:
        from certflow.noise.radii import problems

        return problems(noise, self.norm, two=self.bound_form != "one")

    def _level(self) -> float:
        """The level of one bound."""
        return self.alpha / 2 if self.bound_form == "two" else self.alpha
