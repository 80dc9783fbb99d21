"""Preset radii decided while drawing: what the sampler `decide` found, as a certificate table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.certify.base import NOTHING, CertificateSpec
from certflow.kinds.registry import register
from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    import pandas as pd


@register("sequential")
class Sequential(CertificateSpec):
    """The largest preset radius that each image held; wrong with probability at most alpha, at any stopping time.

    Radii are those listed at the sampler, so an average over them (ACR) is a lower estimate of what the model has.
    """

    kind: Literal["sequential"] = "sequential"
    sequential: ClassVar[bool] = True
    takes_slack: ClassVar[bool] = True
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Failure probability allowed per image: the sampler's, which has already spent it."""

    def problems(self, noise: NoiseSpec, sampler: Spec) -> list[str]:
        """The noise must be Gaussian, and alpha the one that the sampler stops by."""
        found = []
        if noise.kind != "gaussian":
            found.append(f"No sequential certificate for noise kind {noise.kind}; known: gaussian")
        if self.alpha != getattr(sampler, "alpha", self.alpha):
            found.append(f"alpha={self.alpha:g}, but its sampler stops at alpha={sampler.alpha:g}; give both the same")
        return found

    def certify(
        self,
        plan: "pd.DataFrame",
        counts: np.ndarray,
        noise: NoiseSpec,
        *,
        seed: int = 0,
        extra: Mapping[str, np.ndarray] = NOTHING,
        dim: int | None = None,
        slack: float = 0.0,
    ) -> "pd.DataFrame":
        """See `CertificateSpec.certify`; `extra` holds `decided` (largest radius held, -1 = none) of every image.

        `slack` was given away by the sampler, whose thresholds stand for images of up to `LARGEST_DIM` coordinates.
        """
        import pandas as pd
        from scipy import special

        from certflow.certify.counts import CountsError, planned_counts
        from certflow.sampling.ladder import LARGEST_DIM

        if slack and slack > noise.distance(LARGEST_DIM):
            raise ValueError(f"images of {dim} coordinates are larger than exact decisions allow for ({LARGEST_DIM})")
        planned = planned_counts(plan, counts)
        if "decided" not in extra:
            raise CountsError("the counts hold no decisions; sample with a sampler of kind decide")
        decided = np.asarray(extra["decided"], np.float64)
        held = decided >= 0
        radius = np.where(held, decided, 0.0)
        p_lower = np.where(held, special.ndtr(radius / noise.sigma), 0.0)
        return pd.DataFrame(
            {
                "predict": np.where(held, planned.selected, -1),
                "radius": radius,
                "p_lower": p_lower,
                "p_upper": 1.0 - p_lower,
                "k": planned.selected_count(),
                "reason": np.where(held, "", np.where(planned.sampled, "low_pA", "not_sampled")),
                "saturated": np.zeros(len(held), bool),
            }
        )
