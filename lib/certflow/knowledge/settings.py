"""How knowledge continuity is measured: points, layers, losses and bounds. Without numpy."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from certflow.kinds.seeds import Seed
from certflow.kinds.spec import Record
from certflow.stats.limits import LARGEST_MATRIX, LEAST_ALPHA

INPUT, LOGITS = "input", "logits"
"""Names of the first and the last layer, which every network has."""


class Extracted(Record):
    """Which points of the test split are looked at, and what of each layer is kept."""

    points: int = Field(2000, ge=62)
    """Number of random points; all where there are fewer. One in five of them chooses distances, the others are certified
    with: 62 leave the 50 that bounds need in order to say anything."""
    seed: Seed = 0
    """Which points are taken, and which of them are paired."""
    layers: Literal["stages", "blocks"] | Annotated[list[str], Field(min_length=1)] = "stages"
    """Hidden layers: the network's top-level parts, the members of its chains too, or modules by name (`1.layer2.0`)."""
    reduce: Literal["auto", "mean", "cls", "flatten"] = "auto"
    """How a layer's output becomes a vector: mean over pixels or tokens, the first token, or all of it."""
    at: Literal["auto", "clean", "noisy"] = "auto"
    """Points as they are, or one noisy copy of each under the model's noise. `auto`: noisy where the model has noise."""

    def noisy(self, sigma: float) -> bool:
        """Whether noisy copies are looked at, of a model with noise of this scale."""
        return self.at == "noisy" or (self.at == "auto" and sigma > 0)


class Measured(Record):
    """What is measured at every layer."""

    distance: Literal["l1", "l2", "linf", "cosine"] = "l2"
    """Distance between representations."""
    losses: list[Literal["ce", "prob_ce", "prob", "zero_one"]] = Field(["ce", "prob", "zero_one"], min_length=1)
    """Losses whose volatility is reported."""
    stabiliser: float = Field(0.01, ge=0)
    """Added to every distance."""
    certified: Literal["prob_ce", "prob", "zero_one"] = "zero_one"
    """The bounded loss that is certified."""
    alpha: float = Field(0.05, ge=LEAST_ALPHA, lt=1)
    """Probability that a layer's curve is wrong anywhere."""
    bound: Literal["emp_bernstein", "hoeffding", "clt", "bootstrap"] = "emp_bernstein"
    """How the kernel's mean is bounded; the last two hold only as the sample grows."""
    etas: list[Annotated[float, Field(gt=0, le=1)]] = Field([1.0], min_length=1)
    """Differences of losses that are certified against; no two bounded losses are further than 1 apart."""
    deltas: int = Field(25, ge=1, le=1000)
    """Distances of the grid: quantiles of the distances between points that are not certified with."""
    seed: Seed = 0
    """Which points are paired."""

    @field_validator("losses", "etas")
    @classmethod
    def _once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("lists something twice")
        return values


class Knowledge(Extracted, Measured):
    """An entry of `knowledge`: how models are diagnosed. Without settings it is a complete one."""

    @model_validator(mode="after")
    def _pairs_are_held(self) -> Self:
        most = LARGEST_MATRIX * 5 // 4  # four points in five are certified with
        if self.bound == "bootstrap" and self.points > most:
            raise ValueError(f"points: the bootstrap holds all pairs of at most {most} points, got {self.points}")
        return self

    def extracted(self) -> dict[str, Any]:
        """The settings that a model's features depend on."""
        return self.model_dump(mode="json", include=set(Extracted.model_fields))

    def measured(self) -> dict[str, Any]:
        """The settings that the tables of its layers depend on, besides the features."""
        return self.model_dump(mode="json", include=set(Measured.model_fields))
