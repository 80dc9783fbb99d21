"""What every sampler decides: how many draws each image gets, from stage-1 counts alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling.counts import count_of

Arithmetic = Literal["float", "exact"]
ENGINE_REVISION = 2
"""Raised whenever the engine would count otherwise for the same spec: old counts are then made again, never mixed with new."""


class StoppingRule(Protocol):
    """When an image has been drawn often enough: a rule of its counts at fixed looks, the same for every image."""

    @property
    def looks(self) -> np.ndarray:
        """Increasing int64: the numbers of draws at which an image is looked at. The last one ends it."""
        ...

    def judge(self, look: int, k: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At `looks[look]` draws, from the counts `k` of the selected class (int64 [images]) and the earlier decisions
        (float64 [images]): the decisions now (-1 = none), and whether an image is finished (bool). Judged again from the
        same counts, a decision stays: merging checks it so."""
        ...

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        """The largest decisions (float64 [images]) that any order of the draws can have led to by `looks[look]`, where the
        counts of the selected class are `k`: merging refuses larger ones."""
        ...


@dataclass(frozen=True)
class Measurement:
    """One set of class counts that stage 2 makes. Two measurements of a sampler never share a stream."""

    name: str
    """Its array in the file of counts; every certificate reads `counts`."""
    noise: NoiseSpec
    """The law that the draws come from."""
    stream: Stream
    draws: np.ndarray
    """int64 [images]; with a rule, at most so many."""
    parameter: np.ndarray | None = None
    """float64 [images]: a parameter of the law that differs between images; the keys of all rows then hold it."""
    rule: StoppingRule | None = None
    """Ends images early. The file then has the further arrays `drawn` and `decided`."""
    selected: np.ndarray | None = None
    """int64 [images]: the class whose count the rule looks at; with a rule it must be given."""
    every: bool = False
    """Whether each outcome of the noise is counted once (`NoiseSpec.outcomes`) instead of random draws of it."""
    margin: float | None = None
    """Votes whose two largest logits lie closer together than this are unsure; the file then has the further array `unsure`."""

    def __post_init__(self) -> None:
        if self.rule is not None and self.selected is None:
            raise ValueError(f"{self.name}: a stopping rule needs `selected`, the class of each image that it looks at")

    def part(self, images: slice) -> "Measurement":
        """The same measurement of some of the images."""
        return replace(self, **{name: value[images] for name, value in self._per_image().items()})

    def planned(self) -> dict[str, list]:
        """What the plan says of every image, by name, as plain values: counts made otherwise are those of another plan."""
        return {name: np.asarray(value).tolist() for name, value in self._per_image().items()}

    def _per_image(self) -> dict[str, np.ndarray]:
        found = {name: getattr(self, name) for name in ("draws", "parameter", "selected")}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class PlannedImages:
    """Images with what `SamplerSpec.plan` fixed for each of them, and what they are drawn under."""

    plan: Mapping[str, np.ndarray]
    """Name of a column → a value per image."""
    noise: NoiseSpec
    dim: int | None = None
    """Number of coordinates of an image, for rules that stop by radii which depend on it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler said of all of them together (`SamplerSpec.facts`)."""


class SamplerSpec(Spec):
    """Base of all samplers. Torch-free: planning is arithmetic on counts.

    Stage 1 (`presample`) draws `n0` per image; `plan` looks at those counts and fixes, for every image, the class to certify
    and the number of fresh stage-2 draws, before any of them is made.
    """

    family: ClassVar[str] = "sampler"
    sequential: ClassVar[bool] = False
    """Whether images stop by what their counts look like: only certificates that are `sequential` may then read them."""

    enumerates: ClassVar[bool] = False
    """Whether stage 2 counts every outcome of the noise: only certificates that are `exhaustive` may then read it."""

    decides: ClassVar[bool] = False
    """Whether images stop by preset `radii`, in `norm` and at level `alpha`, which are settings of the sampler then."""

    allots: ClassVar[bool] = False
    """Whether images get more draws, fewer or none by what stage 1 showed of them: their numbers of draws then tell of their
    probabilities, which nothing can be estimated from without the counts of stage 1."""

    two_laws: ClassVar[bool] = False
    """Whether stage 2 also draws from a second law (`second_draws`)."""

    n0: int
    """Stage-1 draws per image; 0 if there is no stage 1, where the certificate chooses the class itself."""

    arithmetic: Arithmetic = "float"
    """`float`: noise in floating point, as in all papers. `exact`: noise in whole grey levels from random integers, for 8-bit
    images: radii then hold down to the last bit, and lose less than 1e-6 sigma (n up to 100,000)."""

    def presample(self) -> dict[str, Any]:
        """The part of the spec that stage 1 depends on; samplers that agree here share their stage-1 counts' meaning."""
        return {"n0": self.n0, "arithmetic": self.arithmetic}

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """From stage-1 counts int64 [images, classes] the columns `selected` (class, int64), `k0` (its stage-1 count) and
        `n` (stage-2 draws, int64; 0 = abstain without sampling). Further columns go into the plan's table as they are.

        By default the most frequent class (the lowest index on ties), and `draws` draws of every image.

        dim: number of coordinates of an image, for planners that weigh draws by radii which depend on it."""
        if self.draws is None:
            raise NotImplementedError(f"sampler of kind {self.kind}: states neither `draws` nor a `plan` of its own")
        selected = counts.argmax(axis=1).astype(np.int64)
        return {
            "selected": selected,
            "k0": count_of(counts, selected),
            "n": np.full(len(counts), self.draws, np.int64),
        }

    def facts(self, images: PlannedImages) -> dict[str, Any]:
        """What the plan says of all images together: plain JSON values, kept in its record."""
        return {}

    def planned(self, plan: Mapping[str, np.ndarray], noise: NoiseSpec, dim: int | None = None) -> PlannedImages:
        """The images of a new plan, with the facts about all of them. plan, noise, dim: see `PlannedImages`."""
        images = PlannedImages(plan, noise, dim)
        return replace(images, facts=self.facts(images))

    def measurements(self, images: PlannedImages) -> list[Measurement]:
        """What stage 2 draws: by default, n draws of the noise itself."""
        draws = np.asarray(images.plan["n"], np.int64)
        return [Measurement("counts", images.noise, Stream.ESTIMATION, draws)]

    @property
    def second_draws(self) -> int:
        """Draws of each image from the second law, where there is one."""
        return 0

    @property
    def judges_label(self) -> bool:
        """Whether the counts are about each image's label, and not about the class that `plan` selects."""
        return False

    @property
    def draws(self) -> int | None:
        """Stage-2 draws per image, or the most that one may get; None where the sampler does not say."""
        return None

    def cost(self, noise: NoiseSpec) -> float | None:
        """Stage-2 draws per image to plan with, of both laws: their mean where it is fixed beforehand, else the most."""
        return None if self.draws is None else self.draws + self.second_draws

    def problems(self) -> list[str]:
        """Settings that can never give a result (empty: none)."""
        return []

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """Settings that can never give a result under this noise on images of `dim` coordinates (empty: none)."""
        return []
