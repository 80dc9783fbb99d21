"""Two sets of counts per image, under the noise and under a second law (Li, Zhang, Xie and Li 2022, DSRS)."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from certflow.kinds.registry import register
from certflow.kinds.spec import Record
from certflow.noise.base import NoiseSpec
from certflow.noise.kinds.generalized_gaussian import GeneralizedGaussian
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec
from certflow.sampling.planning.percentiles import RULES, percentile
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA


class ScaledLaw(Record):
    """Q is the noise with another sigma."""

    family: Literal["scaled"] = "scaled"
    """Which family the second law is of."""
    ratio: float = Field(0.8, gt=0)
    """Sigma of Q over that of the noise; 0.8 in the paper."""
    pool: bool = False
    """Give Q's draws to P for images whose stage-1 draws all agree, as the `+` rules do."""


class TruncatedLaw(Record):
    """Q is the noise given that its norm stays below a percentile of its own law."""

    family: Literal["truncated"] = "truncated"
    """Which family the second law is of."""
    rule: str | float = "x+"
    """How the percentile follows from stage 1 (x, x+, x2 or x2+, see `certflow.sampling.planning.percentiles`), or one number
    in (0,1) for all images."""

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str | float) -> str | float:
        if rule in RULES if isinstance(rule, str) else 0 < rule < 1:
            return rule
        raise ValueError(f"must be {', '.join(RULES)} or a number between 0 and 1")

    @property
    def pool(self) -> bool:
        """Whether images whose stage-1 draws all agree are not drawn from Q but from P alone."""
        return isinstance(self.rule, str) and self.rule.endswith("+")


@register("double")
class Double(SamplerSpec):
    """n fresh draws of the noise P and n_q of a second law Q for every image: what certificate `dsrs` needs.

    Counts under Q show whether the class is lost near the image or far away, which counts under P cannot. Stage 1 fixes
    class, percentile and, for the `+` rules, which images are *pooled*: if all n0 draws agree, a second law shows
    nothing new, and n + n_q draws of P certify more. The paper pools after it has seen P's draws, so its level is not exact;
    here everything is fixed before any certified draw, so the certificates are valid at their full level.
    """

    kind: Literal["double"] = "double"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "n": 1000, "n_q": 1000}
    two_laws: ClassVar[bool] = True
    n0: int = Field(1000, ge=1, le=LARGEST_N)
    """Stage-1 draws per image: they choose class, percentile and pooling, and are not certified."""
    n: int = Field(50_000, ge=1, le=LARGEST_N)
    """Draws of the noise per image."""
    n_q: int = Field(50_000, ge=1, le=LARGEST_N)
    """Draws of the second law per image; draws of the noise on top of n for pooled images."""
    q: Annotated[ScaledLaw | TruncatedLaw, Field(discriminator="family")] = TruncatedLaw()
    """The second law."""
    level: Alpha = USUAL_ALPHA
    """Level of the bound that the percentile follows from (Clopper-Pearson, of the stage-1 count): power, not soundness."""

    def without_effect(self) -> dict[str, str]:
        """The level, where no percentile follows from stage 1."""
        follows = isinstance(self.q, TruncatedLaw) and isinstance(self.q.rule, str)
        own = {} if follows else {"level": "has no effect where no percentile follows from stage 1 (q)"}
        return {**super().without_effect(), **own}

    @property
    def draws(self) -> int:
        """`n`, of the noise itself."""
        return self.n

    @property
    def second_draws(self) -> int:
        """`n_q`."""
        return self.n_q

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`. Further columns: q_kind (`scaled`, `truncated` or `pooled`), q_param (Q's sigma over the
        noise's, or the percentile, or 1) and n_q (draws of Q, 0 where pooled)."""
        from certflow.sampling.planning.selection import select_classes

        selected, k0 = select_classes(counts, self.n0)
        pooled = (k0 == self.n0) & self.q.pool
        return {
            "selected": selected,
            "k0": k0,
            "n": np.where(pooled, self.n + self.n_q, self.n).astype(np.int64),
            "n_q": np.where(pooled, 0, self.n_q).astype(np.int64),
            "q_kind": np.where(pooled, "pooled", self.q.family),
            "q_param": np.where(pooled, 1.0, self._parameter(k0)),
        }

    def measurements(self, images: PlannedImages) -> list[Measurement]:
        """`counts` under the noise, `counts_q` under the second law, in streams of their own."""
        plan, noise = images.plan, images.noise
        k = noise.exponent
        if k is None:
            raise ValueError(self.noise_problems(noise)[0])
        draws, draws_q = (np.asarray(plan[name], np.int64) for name in ("n", "n_q"))
        if isinstance(self.q, ScaledLaw):
            law, parameter = GeneralizedGaussian(k=k, sigma=self.q.ratio * noise.sigma), None
        else:
            from certflow.noise.truncated import Truncated

            law, parameter = Truncated(k=k, sigma=noise.sigma), np.asarray(plan["q_param"], np.float64)
        return [
            Measurement("counts", noise, Stream.ESTIMATION, draws),
            Measurement("counts_q", law, Stream.SECOND_DISTRIBUTION, draws_q, parameter=parameter),
        ]

    def problems(self) -> list[str]:
        """See `SamplerSpec.problems`."""
        found = []
        if isinstance(self.q, ScaledLaw) and self.q.ratio == 1:
            found.append("q.ratio: 1 makes the second law the first; take another ratio, or sampler `fixed`")
        if self.arithmetic == "exact":
            found.append("arithmetic: exact noise has no second law; use `arithmetic: float`")
        return found

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """The noise must be Gaussian or generalised Gaussian."""
        if noise.exponent is not None:
            return []
        return [f"a second law is known for Gaussian and generalised Gaussian noise, not for kind {noise.kind}"]

    def _parameter(self, k0: np.ndarray) -> np.ndarray | float:
        """Q's sigma over the noise's, or the percentiles of all images."""
        if isinstance(self.q, ScaledLaw):
            return self.q.ratio
        if not isinstance(self.q.rule, str):
            return self.q.rule
        from certflow.stats.clopper_pearson import clopper_pearson_lower

        return percentile(self.q.rule, np.asarray(clopper_pearson_lower(k0, self.n0, self.level)))
