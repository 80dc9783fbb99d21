"""Draw each image only until it is decided which preset radii it holds: for tables of certified accuracy."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec, StoppingRule
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA


@register("decide")
class Decide(SamplerSpec):
    """Answer "is the radius at least r?" for the listed radii, with as few draws as that takes.

    Each image is looked at after `look` draws and at further numbers of draws that are fixed beforehand. A radius is proven
    once a test rejects at level alpha that the probability of the class is too small for it (under Gaussian noise at most
    Phi(r / sigma)). Drawing ends for an image as soon as its next radius is given up, or after n_max draws. One level is enough
    for all radii, since they are tested in order. Certify the counts with `sequential`: a bound for a fixed number of draws is
    wrong for counts that stop when they look good.
    """

    kind: Literal["decide"] = "decide"
    example: ClassVar[dict[str, Any]] = {
        "n0": 50,
        "test": "mixture",
        "n_max": 2000,
        "radii": [0.0, 0.25, 0.5, 1.0],
    }
    sequential: ClassVar[bool] = True
    decides: ClassVar[bool] = True
    n0: int = Field(100, ge=0, le=LARGEST_N)
    """Stage-1 draws per image: they choose the class (`judge: selected`) and tune the tests (`test: optimal`), for which 50
    are enough. 0 is possible where labels are judged; optimal tests are then made for images of all kinds alike."""
    judge: Literal["selected", "label"] = "selected"
    """Whose radius is asked for. `selected`: that of the class which stage 1 selects; wrong predictions get a radius too.
    `label`: that of the right class, which is all that certified accuracy asks for; images that are mostly taken for another
    class leave at the first looks. There are then no predictions, and no abstentions."""
    test: Literal["optimal", "mixture"] = "optimal"
    """`optimal`: boundaries made for these images, as stage 1 shows them, with the least draws for the certified accuracy that
    `tolerance` asks for (looks 15 % apart). `mixture`: a Jeffreys mixture, valid at any looks (5 % apart); it needs no tuning
    and takes about half as many draws again."""
    radii: list[float] = Field([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5], min_length=1)
    """Radii, [0,1]-pixel units, increasing: give the radii of the table. 0 asks for a certified prediction."""
    norm: Norm = "l2"
    """The norm of the radii."""
    alpha: Alpha = USUAL_ALPHA
    """Probability that an image is given a radius it has not."""
    beta: Annotated[float, OnlyWith("test", "mixture")] = Field(0.02, gt=0, lt=0.5)
    """Of `mixture`: a radius is given up where the draws so far leave it a smaller chance than this to hold after n_max draws.
    It trades power for draws and cannot make a claim wrong: 0.02 saves about half of the draws and loses under 0.001 of
    accuracy."""
    tolerance: Annotated[float, OnlyWith("test", "optimal")] = Field(0.003, gt=0, lt=0.5)
    """Of `optimal`: how much certified accuracy you are ready to lose at each radius, against 100,000 draws of every image.
    0.003 is three images in a thousand. Images near a radius take most of the draws, and giving up on some of them is what
    makes a table cheap: half the tolerance takes some 30 % more draws, twice the tolerance a fifth fewer. What one table of
    500 images loses at its worst radius is up to a third more, since only a handful of images lie near a radius. No tolerance
    makes a claim wrong."""
    n_max: int = Field(200_000, ge=1, le=LARGEST_N)
    """Most stage-2 draws of an image; a radius that is not proven by then is given up."""
    look: int = Field(50, ge=1)
    """Draws before the first look."""

    @property
    def judges_label(self) -> bool:
        """See `SamplerSpec.judges_label`."""
        return self.judge == "label"

    @property
    def draws(self) -> int:
        """`n_max`."""
        return self.n_max

    def facts(self, images: PlannedImages) -> dict[str, Any]:
        """The boundaries of `optimal` as whole numbers; see `certflow.sampling.tuning.tuned_ladder`."""
        from certflow.sampling.tuning import tuned_ladder

        if self.test == "mixture":
            return {}
        k0 = np.asarray(images.plan["k0"], np.int64)
        failure = self._failure(images.noise, images.dim) - self._slack(images.noise)
        return {
            "tests": tuned_ladder(
                k0, self.n0, failure, first=self.look, last=self.n_max, alpha=self.alpha, tolerance=self.tolerance
            )
        }

    def measurements(self, images: PlannedImages) -> list[Measurement]:
        """See `SamplerSpec.measurements`: draws of the noise, ended by a `Ladder`."""
        draws, selected = (np.asarray(images.plan[name], np.int64) for name in ("n", "selected"))
        rule = self._rule(images.noise, images.dim, images.facts)
        return [Measurement("counts", images.noise, Stream.ESTIMATION, draws, rule=rule, selected=selected)]

    def _rule(self, noise: NoiseSpec, dim: int | None, facts: Mapping[str, Any]) -> StoppingRule:
        from certflow.sampling.ladder import planned_ladder, stated_ladder

        failure, slack = self._failure(noise, dim), self._slack(noise)
        if self.test == "mixture":
            return planned_ladder(
                tuple(self.radii), tuple(failure.tolist()), self.look, self.n_max, self.alpha, self.beta, slack
            )
        return stated_ladder(self.radii, failure - slack, facts.get("tests"), n_max=self.n_max, alpha=self.alpha)

    def _failure(self, noise: NoiseSpec, dim: int | None) -> np.ndarray:
        """float64 [radii]: a radius holds where the class is missed less often than this."""
        from certflow.noise.radii import shift_of

        law = noise.drawn_exactly() if self.arithmetic == "exact" else noise
        return shift_of(noise, self.norm).failure(np.array(self.radii), law, dim)

    def _slack(self, noise: NoiseSpec) -> float:
        from certflow.sampling.ladder import LARGEST_DIM

        return noise.distance(LARGEST_DIM) if self.arithmetic == "exact" else 0.0

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """A radius must be known in this norm."""
        from certflow.noise.radii import problems

        return problems(noise, self.norm)

    def problems(self) -> list[str]:
        """Radii must increase from 0 or more; one look at least must fit; a class is selected by draws."""
        found = []
        if sorted(set(self.radii)) != self.radii or self.radii[0] < 0:
            found.append(f"radii: must increase and not be negative, got {self.radii}")
        if self.look > self.n_max:
            found.append(f"look: must be at most n_max={self.n_max}, got {self.look}")
        if self.n0 == 0 and self.judge == "selected":
            found.append("n0: must be at least 1, or no class is selected; only `judge: label` can do without")
        return found
