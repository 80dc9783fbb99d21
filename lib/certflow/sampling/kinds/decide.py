"""Draw each image only until it is decided which preset radii it holds: for tables of certified accuracy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.registry import register
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, SamplerSpec


@register("decide")
class Decide(SamplerSpec):
    """Answer "is the radius at least r?" for the listed radii, with as few draws as that takes.

    Each image is looked at after `look` draws, then in steps of 5 % (never less than `look`). A radius holds once a
    sequential test, valid at any stopping time, rejects at level alpha that p_A is too small for it (under Gaussian noise p_A
    <= Phi(r / sigma)); an image leaves as soon as its
    next radius is held to be out of reach, or after n_max draws. One level serves all radii (they are tested in order).
    Certify its counts with `sequential`: a bound for a fixed number of draws fails for counts that stop when they look good.
    """

    kind: Literal["decide"] = "decide"
    example: ClassVar[dict[str, Any]] = {"n0": 50, "n_max": 2000, "radii": [0.0, 0.25, 0.5, 1.0]}
    sequential: ClassVar[bool] = True
    n0: int = Field(100, ge=1, le=10**8)
    """Stage-1 draws per image: they choose the class."""
    radii: list[float] = Field([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5], min_length=1)
    """Radii, [0,1]-pixel units, increasing: give the radii of the table. 0 asks for a certified prediction."""
    norm: Norm = "l2"
    """The norm of the radii."""
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Probability that an image is given a radius it has not."""
    beta: float = Field(0.02, gt=0, lt=0.5)
    """A radius is given up where the draws so far leave it a smaller chance than this to hold after n_max draws. It trades
    power for draws and cannot make a claim wrong: 0.02 saves about half of the draws and loses under 0.001 of accuracy."""
    n_max: int = Field(100_000, ge=1, le=10**8)
    """Most stage-2 draws of an image; what is not decided by then does not hold."""
    look: int = Field(100, ge=1)
    """Draws before the first look."""

    def plan(self, counts: np.ndarray, noise: NoiseSpec, dim: int | None = None) -> dict[str, np.ndarray]:
        """See `SamplerSpec.plan`; n is the most an image may be drawn."""
        selected = counts.argmax(axis=1).astype(np.int64)
        k0 = np.take_along_axis(counts, selected[:, None], axis=1)[:, 0]
        return {"selected": selected, "k0": k0, "n": np.full(len(counts), self.n_max, np.int64)}

    def measurements(
        self, plan: Mapping[str, np.ndarray], noise: NoiseSpec, dim: int | None = None
    ) -> list[Measurement]:
        """See `SamplerSpec.measurements`: draws of the noise, ended by a `Ladder`."""
        from certflow.noise.radii import shift_of
        from certflow.sampling.ladder import LARGEST_DIM, planned_ladder

        slack = noise.distance(LARGEST_DIM) if self.arithmetic == "exact" else 0.0
        law = noise.drawn_exactly() if self.arithmetic == "exact" else noise
        failure = tuple(shift_of(noise, self.norm).failure(np.array(self.radii), law, dim).tolist())
        rule = planned_ladder(tuple(self.radii), failure, self.look, self.n_max, self.alpha, self.beta, slack)
        draws, selected = (np.asarray(plan[name], np.int64) for name in ("n", "selected"))
        return [Measurement("counts", noise, Stream.ESTIMATION, draws, rule=rule, selected=selected)]

    def noise_problems(self, noise: NoiseSpec, dim: int | None = None) -> list[str]:
        """A radius must be known in this norm."""
        from certflow.noise.radii import problem

        found = problem(noise, self.norm)
        return [f"norm: {found}"] if found else []

    def problems(self) -> list[str]:
        """Radii must increase from 0 or more; one look at least must fit."""
        found = []
        if sorted(set(self.radii)) != self.radii or self.radii[0] < 0:
            found.append(f"radii: must increase and not be negative, got {self.radii}")
        if self.look > self.n_max:
            found.append(f"look: must be at most n_max={self.n_max}, got {self.look}")
        return found
