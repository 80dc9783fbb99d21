"""What every noise distribution offers to the engine."""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from pydantic import field_validator

from certflow.kinds.registry import kinds, spec_class
from certflow.kinds.spec import Spec

LARGEST_SIGMA = 1e6
"""Float32 holds the pixels of noisier images to less than a sixteenth of their range."""


@dataclass(frozen=True)
class Key:
    """Which draws: all that randomness is a function of."""

    image: Any
    """int64 tensor [rows], each below 2**32: the image's position in the full split."""
    draw: Any
    """int64 tensor [rows], each below 2**32: the number of the draw of that image."""
    seed: int
    """Below 2**64."""
    stream: int
    """A member of `certflow.noise.streams.Stream`: one number for each purpose, never reused."""
    parameter: Any = None
    """float64 tensor [rows], for laws with a parameter that differs between images."""

    @classmethod
    def of(cls, image: Any, draw: int, *, seed: int, stream: int) -> Self:
        """The same draw of all images."""
        return cls(image, image.new_full(image.shape, draw), seed=seed, stream=stream)

    @property
    def halves(self) -> tuple[int, int]:
        """The low and the high 32 bits of the seed: what the generator calls its key."""
        return self.seed & 0xFFFFFFFF, self.seed >> 32

    def part(self, rows: slice) -> Self:
        """The same for some of the rows."""
        parameter = None if self.parameter is None else self.parameter[rows]
        return replace(self, image=self.image[rows], draw=self.draw[rows], parameter=parameter)


class NoiseSpec(Spec):
    """Base of all noise kinds: how a noisy copy of an image is made, from counters alone (`certflow.noise.philox`)."""

    family: ClassVar[str] = "noise"
    offers: ClassVar[frozenset[str]] = frozenset()
    """What methods, certificates and attacks may need: `additive` (a copy is the image plus noise that does not depend on it),
    `differentiable` (a copy moves with the image), `levelwise` (where one coordinate of an 8-bit image changes by one grey
    level, the copies of one outcome at most change)."""
    warms_up: ClassVar[bool] = False
    """Whether training can approach this law step by step (`warmed`)."""

    sigma: float
    """Scale in [0,1]-pixel units: the standard deviation per coordinate (root mean square)."""

    @field_validator("sigma")
    @classmethod
    def _leaves_an_image(cls, sigma: float) -> float:
        if sigma > LARGEST_SIGMA:
            raise ValueError(f"should be at most {LARGEST_SIGMA:,.0f}: pixels lie in [0,1], and drown in more noise")
        return sigma

    def copies(self, x: Any, key: Key) -> Any:
        """float32 [rows, *shape]: a noisy copy of each row of x, float32 [rows, *shape] in [0,1] units, before normalisation.

        Row r depends on (x[r], seed, stream, image[r], draw[r], parameter[r]) alone. Never clipped; x is not changed.
        """
        raise NotImplementedError

    @property
    def outcomes(self) -> int | None:
        """Number of equally likely values of the randomness behind a copy (`outcome`); None: they cannot be enumerated."""
        return None

    def outcome(self, levels: Any, number: Any) -> Any:
        """The copies that the randomness leads to when it takes its value number `number`, where `outcomes` is not None.

        levels: int16 grey levels of each row's image, [rows, *shape] or [*shape] for all. number: int64 [rows], 0 to outcomes -
        1. Returns int16 [rows, *shape] in the units of `certflow.noise.splitting.PARTS`.
        """
        raise ValueError(f"noise of kind {self.kind} has no outcomes that could be enumerated")

    def says(self, exact: bool) -> str:
        """How copies are drawn and what that means for a guarantee: stands under tables, after "Noise: ". exact: arithmetic."""
        if exact:
            return "exact (whole grey levels from random integers; what their law misses is taken off every bound)"
        return "float (the law up to rounding: no theorem about a network built to read the last bits of its input)"

    def describe(self, dim: int) -> dict[str, Any]:
        """What else to record of draws on images with `dim` coordinates; `sigma` and the like are part of the specification."""
        return {}

    def drawn_exactly(self) -> Self:
        """The law whose radii hold for draws in exact arithmetic, apart from `distance`."""
        return self

    def distance(self, dim: int) -> float:
        """An upper bound on the total variation distance of exact draws on `dim` coordinates from the ideal law on the grid."""
        raise ValueError(self.exact_problems()[0])

    def exact_problems(self) -> list[str]:
        """Why this noise cannot be drawn in exact arithmetic (empty: it can)."""
        return [f"noise of kind {self.kind} has no exact form; use `arithmetic: float`"]

    @property
    def exponent(self) -> int | None:
        """k where this law is the generalised Gaussian N^g(k, sigma), 0 being the Gaussian; None for other laws."""
        return None

    def lacks(self, needs: Set[str]) -> list[str]:
        """Why something that needs all of these of a noise (see `offers`) cannot use this one (empty: it can)."""
        missing = sorted(needs - self.offers)
        if not missing:
            return []
        fit = [kind for kind in kinds("noise") if needs <= spec_class("noise", kind).offers]
        return [
            f"needs noise that is {' and '.join(missing)}; noise of kind {self.kind} is not (known: {', '.join(fit)})"
        ]

    def warmed(self, counter: int, length: int) -> Self:
        """The law to train with after `counter` of `length` units of a warm-up; this law itself where there is none."""
        return self

    def problems(self, dim: int) -> list[str]:
        """Why this noise cannot be used on images with `dim` coordinates (empty: it can)."""
        return []


def checked_noise(noise: Any) -> NoiseSpec:
    """`noise`, if it is one; TypeError with an example otherwise."""
    if not isinstance(noise, NoiseSpec):
        raise TypeError(
            f"noise: must be a noise such as certflow.noise.Gaussian(sigma=0.25), got {noise!r} ({type(noise).__name__})"
        )
    return noise


class AdditiveNoise(NoiseSpec):
    """Noise that is added to the image and does not depend on it."""

    offers: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape] on the device of `key.image`: the noise; row r depends on its part of the key alone."""
        raise NotImplementedError

    def copies(self, x: Any, key: Key) -> Any:
        """See `NoiseSpec.copies`: x plus `sample`."""
        return self.sample(tuple(x.shape[1:]), key).add_(x)

    def steps(self, shape: tuple[int, ...], key: Key) -> Any:
        """int16 [rows, *shape]: the law rounded to the grid of 8-bit pixels, in grey levels, for `arithmetic: exact`.

        ValueError where the kind has no such form.
        """
        raise ValueError(self.exact_problems()[0])
