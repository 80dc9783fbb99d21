"""One model that can be certified, as pages show it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certflow.data.base import DatasetSpec
from certflow.noise.base import NoiseSpec

ONNX = ".onnx"
"""Ending of files that are not torch modules."""
BEHIND = "-"
"""Stands between the ids of a classifier and of the model whose denoiser stands before it."""


@dataclass(frozen=True)
class Result:
    """What a certificate table of the pipeline says about a model."""

    images: int
    accuracy: float
    """Share of images that are certified as their class at any radius."""
    at: Mapping[float, float]
    """Radius → certified accuracy."""
    norm: str
    """The norm of the radii."""


@dataclass(frozen=True)
class Card:
    """One model."""

    id: str
    path: Path
    source: str
    """`pipeline` or `brought`."""
    title: str
    dataset: DatasetSpec | None
    """The data it was trained on, where these are known."""
    shape: tuple[int, ...]
    classes: int
    noise: NoiseSpec
    facts: Mapping[str, str]
    """What it is, for people."""
    size: int
    modified: float
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    result: Result | None = None
    doctor: Mapping[str, Any] = field(default_factory=dict)
    """What the doctor found out (source `brought`, with test images)."""
    denoises: bool = False
    """Whether it has a denoiser."""
    behind: "Card | None" = None
    """The model whose denoiser was put before it, if one was."""

    @property
    def dim(self) -> int:
        """Number of coordinates of an image."""
        return math.prod(self.shape)

    @property
    def alone(self) -> str:
        """The id of the classifier by itself."""
        return self.id.partition(BEHIND)[0]

    @property
    def is_torch(self) -> bool:
        """Whether it is a torch module: such models have gradients, and take a denoiser before them."""
        return self.path.suffix != ONNX

    def fits_behind(self, other: "Card") -> bool:
        """Whether it can be put behind the denoiser of another one."""
        alone = self.is_torch and not self.denoises and self.behind is None
        return alone and other.denoises and self.shape == other.shape

    def put_behind(self, other: "Card") -> "Card":
        """It with the denoiser of another one before it, under that one's noise."""
        return replace(
            self,
            id=f"{self.id}{BEHIND}{other.id}",
            title=f"{self.title} behind a denoiser",
            noise=other.noise,
            facts={
                **self.facts,
                "noise": other.facts["noise"],
                "denoiser": f"of {other.title}, {other.facts['noise']}",
            },
            warnings=(*self.warnings, *other.warnings),
            result=None,
            behind=other,
        )

    def named(self, number: int) -> str:
        """What people call a class."""
        return self.class_names[number] if 0 <= number < len(self.class_names) else str(number)

    def under(self, sigma: float | None) -> NoiseSpec:
        """Its noise, at another level where one is given."""
        return self.noise if sigma is None else self.noise.model_copy(update={"sigma": sigma})


def noise_name(noise: NoiseSpec) -> str:
    """A noise as people write it."""
    if noise.sigma == 0:
        return "no noise"
    own = noise.model_dump(exclude={"kind", "sigma"})
    more = "".join(f", {name} = {value:g}" for name, value in own.items() if isinstance(value, int | float))
    return f"{noise.kind.replace('_', ' ')}, σ = {noise.sigma:g}{more}"
