"""Planned sampling: every draw goes where it is expected to gain most, all images having the same gain at the margin."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA, smallest_n_to_certify


@register("planned")
class Planned(SamplerSpec):
    """Spend a mean number of draws per image so that the expected average certified radius is as large as it can be.

    n0 draws show roughly how often an image's class is missed; the expected radius after n more follows; and the n of all
    images are chosen so that one more draw gains the same everywhere. Images that cannot be certified, or whose radius hardly
    grows any more, get few draws; images that almost never miss get many. Give `budget` or `price`.

    The plan is made before any stage-2 draw, and those are fresh: given the plan, each certificate is valid at level alpha. A
    wrong prior or level here costs radius, never validity.
    """

    kind: Literal["planned"] = "planned"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "budget": 800, "n_max": 2000}
    allots: ClassVar[bool] = True
    n0: int = Field(500, ge=1, le=LARGEST_N)
    """Stage-1 draws per image; 200 to 1,000 serve equally well."""
    budget: float | None = Field(None, gt=0)
    """Mean number of draws per image, stage 1 included. Never exceeded; less is spent where no image could use more."""
    price: float | None = Field(None, gt=0)
    """Instead of `budget`: the least gain per draw that is worth it, in units of sigma (1e-6 is about 20,000 draws)."""
    n_min: int = Field(200, ge=1, le=LARGEST_N)
    """Fewest stage-2 draws of an image that gets any."""
    n_max: int = Field(100_000, ge=1, le=LARGEST_N)
    """Most stage-2 draws of an image. Above 100,000 radii appear that no table of N = 100,000 can show: say so beside them."""
    granularity: int = Field(100, ge=1, le=LARGEST_N)
    """n is a multiple of this, or n_min, or n_max."""
    alpha: Alpha = USUAL_ALPHA
    """Level that n is planned for; give the certificate the same. Another one there costs radius, not validity."""
    prior_exponent: float = Field(0.15, gt=0, le=10)
    """The probability q of missing the class has prior density q^(prior_exponent - 1); 0.03 to 0.4 on published tables."""
    bound_form: Literal["one", "auto"] = "one"
    """The certificate's. With `auto` an image is worth what its runner-up leaves it, which saves those below p_A = 1/2."""
    accuracy_weight: float = Field(0.05, ge=0)
    """What certifying an image at all is worth, in units of sigma; 0 plans for the average radius alone."""

    norm: Norm = "l2"
    """The norm of the radii that draws are weighed by; give the certificate the same."""

    @property
    def draws(self) -> int:
        """`n_max`."""
        return self.n_max

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`. ValueError where the budget does not pay for one image's first draws."""
        from certflow.sampling.planning.allocation import draws_at_price
        from certflow.sampling.planning.posterior import posterior
        from certflow.sampling.planning.scale import scale_of
        from certflow.sampling.planning.selection import equivalent_count, select_classes
        from certflow.sampling.planning.utility import utility

        selected, k0 = select_classes(counts, self.n0)
        scale = scale_of(noise, self.norm, dim)
        n, worth = utility(self.n_min, self.n_max, self.granularity, self.alpha, self.accuracy_weight, scale)
        two = self.bound_form == "auto"
        hits = equivalent_count(counts, selected, self.n0, noise, self.norm, dim) if two else k0
        values, row = np.unique(hits, return_inverse=True)
        gain = posterior(values, self.n0, self.prior_exponent) @ worth.T
        if self.budget is not None:
            draws = self._within_budget(self.budget, n, gain, row)
        else:
            draws = draws_at_price(n, gain, self.price or 0.0)[row]
        return {"selected": selected, "k0": k0, "n": draws}

    def cost(self, noise: NoiseSpec) -> float | None:
        """The budget without stage 1."""
        return self.n_max if self.budget is None else self.budget - self.n0

    def problems(self) -> list[str]:
        """See `SamplerSpec.problems`."""
        found = []
        if (self.budget is None) == (self.price is None):
            found.append("give either budget (mean draws per image) or price (least gain per draw)")
        if self.budget is not None and self.budget <= self.n0:
            found.append(
                f"budget={self.budget:g} leaves nothing for stage 2: stage 1 alone takes n0={self.n0} per image"
            )
        if self.n_min > self.n_max:
            found.append(f"n_min={self.n_min} exceeds n_max={self.n_max}")
        if self.n_min < (least := smallest_n_to_certify(self.alpha)):
            found.append(
                f"n_min={self.n_min} draws can never certify at alpha={self.alpha:g}; at least {least} are needed"
            )
        return found

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """See `SamplerSpec.noise_problems`: a radius must be known, from two bounds with `bound_form: auto`."""
        from certflow.noise.radii import problems

        return problems(noise, self.norm, two=self.bound_form == "auto")

    def _within_budget(self, budget: float, n: np.ndarray, gain: np.ndarray, row: np.ndarray) -> np.ndarray:
        """int64 [images]: stage-2 draws that cost at most the budget together with stage 1."""
        from certflow.sampling.planning.allocation import draws_for_total

        total = int(np.floor((budget - self.n0) * len(row)))
        try:
            return draws_for_total(n, gain, row, max(total, 0))
        except ValueError as error:
            raise ValueError(f"budget={budget:g} with n0={self.n0}: {error}; raise the budget") from None
