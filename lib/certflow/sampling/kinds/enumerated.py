"""Every outcome of the noise, once: nothing is drawn, and what is counted is the smoothed classifier itself."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec


@register("enumerated")
class Enumerated(SamplerSpec):
    """Show the network all copies of an image that the noise can make, for noise with few outcomes (`dssn`).

    There is no stage 1: the certificate chooses the class, from the counts that it certifies.
    """

    kind: Literal["enumerated"] = "enumerated"
    enumerates: ClassVar[bool] = True
    n0: Literal[0] = 0
    """Always 0."""
    arithmetic: Literal["exact"] = "exact"
    """Always `exact`: copies are computed from whole grey levels."""
    margin: float | None = Field(None, gt=0)
    """Votes whose two largest logits lie closer together than this are counted against the certificate, in case another device
    or precision decides them otherwise; 1e-4 is usual. Left out: votes count as they are."""

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`. `selected` is class 0 for all images: the certificate says another."""
        zeros = np.zeros(len(counts), np.int64)
        return {"selected": zeros, "k0": zeros, "n": np.full(len(counts), noise.outcomes, np.int64)}

    def measurements(self, images: PlannedImages) -> list[Measurement]:
        """See `SamplerSpec.measurements`: each outcome once."""
        draws = np.asarray(images.plan["n"], np.int64)
        return [Measurement("counts", images.noise, Stream.ESTIMATION, draws, every=True, margin=self.margin)]

    def cost(self, noise: NoiseSpec) -> int | None:
        """The number of outcomes."""
        return noise.outcomes

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """See `SamplerSpec.noise_problems`: there must be finitely many outcomes."""
        if noise.outcomes is None:
            return [f"counts all outcomes of the noise; kind {noise.kind} has none to enumerate (use `fixed`)"]
        return []
