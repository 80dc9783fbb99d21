"""The same number of draws for every image (Cohen, Rosenfeld and Kolter 2019, CERTIFY)."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import register
from certflow.sampling.base import SamplerSpec
from certflow.stats.limits import LARGEST_N


@register("fixed")
class Fixed(SamplerSpec):
    """Choose the most frequent class of n0 draws (the lowest index on ties), then make n fresh draws."""

    kind: Literal["fixed"] = "fixed"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "n": 1000}
    n0: int = Field(100, ge=1, le=LARGEST_N)
    """Stage-1 draws per image: they choose the class and are not certified."""
    n: int = Field(100_000, ge=1, le=LARGEST_N)
    """Stage-2 draws per image."""

    @property
    def draws(self) -> int:
        """`n`."""
        return self.n
