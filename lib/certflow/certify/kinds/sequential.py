"""Preset radii decided while drawing: what the sampler `decide` found, as a certificate table."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from certflow.certify.base import CertificateSpec, Drawn
from certflow.certify.counts import CountsError
from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import USUAL_ALPHA, smallest_n_to_certify

if TYPE_CHECKING:
    import pandas as pd


@register("sequential")
class Sequential(CertificateSpec):
    """The largest preset radius that was proven for each image; wrong with probability at most alpha, at any stopping time.

    Radii are those that the sampler lists, so their average (ACR) is a lower bound of the model's.
    """

    kind: Literal["sequential"] = "sequential"
    fixed: ClassVar[bool] = False
    sequential: ClassVar[bool] = True
    preset: ClassVar[bool] = True
    takes_slack: ClassVar[bool] = True
    alpha: Alpha = USUAL_ALPHA
    """Failure probability allowed per image: the sampler's, which has already spent it."""

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """Radii must be what the sampler decides; norm and alpha those that it stops by."""
        if not sampler.decides:
            return [f"its sampler is of kind {sampler.kind}, which decides no radii; use one of kind decide"]
        return [
            f"{name}={getattr(self, name)}, but its sampler stops at {name}={getattr(sampler, name)}; give both the same"
            for name in ("norm", "alpha")
            if getattr(self, name) != getattr(sampler, name)
        ]

    def least_draws(self) -> int:
        """See `CertificateSpec.least_draws`: no test of this level rejects p <= 1/2 with fewer hits."""
        return smallest_n_to_certify(self.alpha)

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`; `drawn.extra` holds `decided` (largest radius held, -1 = none) of every image.

        The slack was given away by the sampler, whose thresholds stand for images of up to `LARGEST_DIM` coordinates.
        """
        import pandas as pd

        from certflow.noise.radii import shift_of
        from certflow.sampling.ladder import LARGEST_DIM
        from certflow.stats.complement import complement_down

        if drawn.slack and drawn.slack > drawn.noise.distance(LARGEST_DIM):
            raise ValueError(
                f"images of {drawn.dim} coordinates are larger than exact decisions allow for ({LARGEST_DIM}); draw them with "
                "`arithmetic: float`"
            )
        planned = drawn.planned
        if "decided" not in drawn.extra:
            raise CountsError("the counts hold no decisions; sample with a sampler of kind decide")
        decided = np.asarray(drawn.extra["decided"], np.float64)
        held = decided >= 0
        radius = np.where(held, decided, 0.0)
        failure = shift_of(drawn.noise, self.norm).failure(radius, drawn.noise, drawn.dim)
        p_lower = np.where(held, complement_down(failure), 0.0)
        return pd.DataFrame(
            {
                **planned.verdict(held, planned.selected),
                # Radii are decided before all draws are made.
                "saturated": np.zeros(len(held), bool),
                "radius": radius,
                "p_lower": p_lower,
                "p_upper": 1.0 - p_lower,
            }
        )
