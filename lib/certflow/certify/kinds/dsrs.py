"""The L2 certificate of double sampling (Li, Zhang, Xie and Li 2022)."""

import logging
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from certflow.certify.base import CertificateSpec, Drawn
from certflow.certify.counts import second_counts
from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import LEAST_LEVEL, USUAL_ALPHA, smallest_n_to_certify

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("pa_low", "pa_high", "qa_low", "qa_high")


@register("dsrs")
class DoubleSampling(CertificateSpec):
    """Radius from Clopper-Pearson intervals of the class under the noise P and under a second law Q of the same image.

    Never below the Neyman-Pearson radius of the same p_lower, and above it if the class is lost at other distances than by the
    worst classifier with that p_A. Needs counts of a sampler of kind `double`.
    """

    kind: Literal["dsrs"] = "dsrs"
    norm: Literal["l2"] = "l2"
    alpha: Alpha = USUAL_ALPHA
    """Failure probability allowed per image, for all four bounds together."""
    shares: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=4, max_length=4)] = [0.25] * 4
    """Shares of alpha for the lower and upper bound under P and under Q. A quarter each in the paper; the upper bound under P
    matters in few images, so that [0.45, 0.05, 0.25, 0.25] gives larger radii."""
    pooled: Literal["peer", "strict", "off"] = "peer"
    """Images whose second law is P itself (`q_kind` pooled, n_q draws). `peer`: one lower bound of all draws at alpha/2, as the
    paper; it is exact only if the pooling was decided before any of them. `strict`: the better of the bounds of either half,
    sound however it was decided. `off`: the first half alone. Images planned as pooled (n_q = 0) have one bound at alpha."""
    target: Literal["selected", "label"] = "selected"
    """Whose probability is certified: the class that stage 1 selected, or the true label, as the paper's tables."""

    @model_validator(mode="after")
    def _shares_fit(self) -> "DoubleSampling":
        if sum(self.shares) > 1 + 1e-12:
            raise ValueError(f"shares must sum to at most 1, got {sum(self.shares):g}")
        for place, share in enumerate(self.shares):
            if self.alpha * share < 2 * LEAST_LEVEL:  # bounds give away a little of their level
                raise ValueError(
                    f"shares.{place}: {share:g} of alpha is a level of {self.alpha * share:g}, which no bound is computed for; "
                    f"give it {2 * LEAST_LEVEL / self.alpha:g} or more"
                )
        return self

    @property
    def judges_label(self) -> bool:
        """See `CertificateSpec.judges_label`."""
        return self.target == "label"

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """Noise of a known law, and a sampler that draws from a second one."""
        found = self._noise_problems(noise)
        if not sampler.two_laws:
            found.append(f"sampler kind {sampler.kind} draws from one law only; a sampler of kind double is needed")
        return found

    def least_draws(self) -> int:
        """See `CertificateSpec.least_draws`: for the lower bound under P."""
        return smallest_n_to_certify(self.alpha * self.shares[0])

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. The plan has the columns q_kind, q_param (sigma of Q over that of P, or the percentile
        of the ball) and n_q besides; `drawn.extra` holds counts_q, int64 [images, classes], rows summing to n_q.

        Further columns: radius_np (from pa_low alone), case and status (see `certflow.certify.dsrs_radius`), the four bounds
        pa_low, pa_high, qa_low, qa_high, k_q, n_q, q_kind and q_param.
        """
        import pandas as pd

        from certflow.certify.double_sampling.counted import double_radius, remarks
        from certflow.noise.radii.checks import needed_dimension

        noise = drawn.noise
        exponent = noise.exponent
        if exponent is None:
            raise ValueError(self._noise_problems(noise)[0])
        planned, second = drawn.planned, second_counts(drawn.plan, drawn.counts, drawn.extra)
        dim = needed_dimension(drawn.dim, noise)
        target = planned.label if self.judges_label else planned.selected
        k, k_q = planned.count_of(target), second.count_of(target)
        levels = self.alpha * np.asarray(self.shares)
        found = double_radius(
            (k, planned.n), (k_q, second.n), second.q_kind, second.q_param, self.alpha, levels, self.pooled,
            dim=dim, k=exponent, sigma=noise.sigma,
        )  # fmt: skip
        for remark in remarks(found["status"], second.q_kind, second.q_param, second.n, dim / 2 - exponent):
            logging.getLogger(__name__).warning(remark)
        return pd.DataFrame(
            {
                **planned.verdict(found["radius"] > 0, target),
                "radius": found["radius"],
                "p_lower": found["pa_low"],
                "p_upper": 1.0 - found["pa_low"],
                **{name: found[name] for name in ("radius_np", "case", "status", *SIDES)},
                "k_q": k_q,
                "n_q": second.n,
                "q_kind": second.q_kind,
                "q_param": second.q_param,
            }
        )

    def _noise_problems(self, noise: NoiseSpec) -> list[str]:
        if noise.exponent is not None:
            return []
        return [f"double sampling needs Gaussian or generalised Gaussian noise, not kind {noise.kind}"]
