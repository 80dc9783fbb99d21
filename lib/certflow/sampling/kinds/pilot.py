"""A few draws of each image, from which a whole table is estimated before it is made."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec


@dataclass(frozen=True)
class Misses:
    """The stopping rule of `pilot`: an image ends once its label was missed often enough, or long enough not at all. It decides
    no radius."""

    looks: np.ndarray
    most_misses: int
    clean: int

    def judge(self, look: int, k: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `StoppingRule.judge`."""
        drawn = int(self.looks[look])
        misses, last = drawn - k, look == len(self.looks) - 1
        return np.full(len(k), -1.0), (misses >= self.most_misses) | ((misses == 0) & (drawn >= self.clean)) | last

    def most(self, look: int, k: np.ndarray) -> np.ndarray:
        """See `StoppingRule.most`."""
        return np.full(len(k), -1.0)


@register("pilot")
class Pilot(SamplerSpec):
    """Draw every image `first` times, then on in steps of 15 %, until its label was missed `misses` times, or never in `clean`
    draws, or n_max was reached.

    Some 90 to 160 draws per image on published models: most go to images of which a few draws miss the label, since these are
    near the radii of a table. From these draws `certflow.stats.estimate` estimates the table that 100,000 draws per image
    would give, with an interval: not a certificate. Experiments name this sampler under `preview`. (Certificate `anytime` can
    read these counts, too; its radii are certified, but small.)

    No other sampler makes these draws again: what is chosen by an estimate is certified by fresh draws.
    """

    kind: Literal["pilot"] = "pilot"
    revision: ClassVar[int] = 3
    example: ClassVar[dict[str, Any]] = {"first": 20, "n_max": 100}
    sequential: ClassVar[bool] = True
    n0: Literal[0] = 0
    """There is no stage 1: the label is judged."""
    first: int = Field(60, ge=1, le=10**6)
    """Draws of every image."""
    misses: int = Field(8, ge=1)
    """Drawing ends for an image whose label was missed so often: it is known well enough."""
    clean: int = Field(120, ge=1)
    """Drawing ends for an image whose label was never missed in so many draws: few such images are near a radius."""
    n_max: int = Field(270, ge=1, le=10**6)
    """Most draws of an image."""

    @property
    def judges_label(self) -> bool:
        """See `SamplerSpec.judges_label`."""
        return True

    @property
    def draws(self) -> int:
        """`n_max`."""
        return self.n_max

    def measurements(self, images: PlannedImages) -> list[Measurement]:
        """See `SamplerSpec.measurements`: draws of the noise, ended by `Misses`."""
        from certflow.stats.optimal import growing_looks

        draws, selected = (np.asarray(images.plan[name], np.int64) for name in ("n", "selected"))
        rule = Misses(growing_looks(self.first, self.n_max), self.misses, self.clean)
        return [Measurement("counts", images.noise, Stream.PILOT, draws, rule=rule, selected=selected)]

    def problems(self) -> list[str]:
        """The first look must fit."""
        return [f"first: must be at most n_max={self.n_max}, got {self.first}"] if self.first > self.n_max else []
