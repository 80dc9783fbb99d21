"""A radius that holds at any stopping time: draws may be looked at, continued and ended at will."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from certflow.certify.base import CertificateSpec, Drawn
from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import USUAL_ALPHA

if TYPE_CHECKING:
    import pandas as pd


@register("anytime")
class Anytime(CertificateSpec):
    """The radius of a bound that is valid at all numbers of draws at once (an e-process; Ville 1939).

    For jobs that may be cut short or continued later, for live pages, and for counts of any sampler (for `decide`, at the
    numbers of draws that were really made). At n = 10,000 its radius is 0.96 of the one for a fixed n, at 100,000 0.985 and
    more.
    """

    kind: Literal["anytime"] = "anytime"
    sequential: ClassVar[bool] = True
    takes_slack: ClassVar[bool] = True
    alpha: Alpha = USUAL_ALPHA
    """Probability per image that its radius is wrong at any time."""

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """A radius must be known in this norm."""
        from certflow.noise.radii import problems

        return problems(noise, self.norm)

    def least_draws(self) -> int:
        """See `CertificateSpec.least_draws`: two or three more than for a fixed number of draws."""
        from certflow.stats import smallest_n_to_certify_anytime

        return smallest_n_to_certify_anytime(self.alpha)

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`."""
        import pandas as pd

        from certflow.certify.bounds import raised
        from certflow.certify.radii import radius_below
        from certflow.stats import anytime_failure

        planned = drawn.planned
        k, sampled = planned.selected_count(), planned.sampled
        failure = np.ones(len(k))
        failure[sampled] = raised(anytime_failure(k[sampled], planned.n[sampled], self.alpha), drawn.slack)
        radius, p_lower = radius_below(failure, drawn.noise, drawn.dim, self.norm)
        return pd.DataFrame(
            {
                **planned.verdict(p_lower > 0.5, planned.selected),
                "radius": radius,
                "p_lower": p_lower,
                "p_upper": 1.0 - p_lower,
            }
        )
