"""The same number of draws for every image (Cohen, Rosenfeld and Kolter 2019, CERTIFY)."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec
from certflow.sampling.counts import count_of


@register("fixed")
class Fixed(SamplerSpec):
    """Choose the most frequent class of n0 draws (the lowest index on ties), then make n fresh draws."""

    kind: Literal["fixed"] = "fixed"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "n": 1000}
    n0: int = Field(100, ge=1, le=10**8)
    """Stage-1 draws per image: they choose the class and are not certified."""
    n: int = Field(100_000, ge=1, le=10**8)
    """Stage-2 draws per image."""

    @property
    def draws(self) -> int:
        """`n`."""
        return self.n

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`."""
        selected = counts.argmax(axis=1).astype(np.int64)
        k0 = count_of(counts, selected)
        return {"selected": selected, "k0": k0, "n": np.full(len(counts), self.n, np.int64)}
