"""What every noise distribution offers to the engine."""

from typing import Any, ClassVar, Self

from certflow.kinds.spec import Spec


class NoiseSpec(Spec):
    """Base of all noise kinds: a law on images, drawn as a pure function of counters (see `certflow.noise.philox`)."""

    family: ClassVar[str] = "noise"
    warms_up: ClassVar[bool] = False
    """Whether training can approach this law step by step (`warmed`)."""

    sigma: float
    """Scale in [0,1]-pixel units: the standard deviation per coordinate (root mean square)."""

    def sample(self, shape: tuple[int, int, int], image: Any, draw: Any, *, seed: int, stream: int) -> Any:
        """float32 [rows, *shape] on the device of `image`; row r depends on (seed, stream, image[r], draw[r]) alone.

        `image`, `draw`: int64 tensors [rows], each below 2**32. `seed`: below 2**64. `stream`: a member of
        `certflow.noise.streams.Stream`, one number per purpose and never reused. A law with a parameter that differs between
        images takes a further keyword argument `parameter`, float64 [rows].
        """
        raise NotImplementedError

    def steps(self, shape: tuple[int, int, int], image: Any, draw: Any, *, seed: int, stream: int) -> Any:
        """int16 [rows, *shape]: the law rounded to the grid of 8-bit pixels, in grey levels, for `arithmetic: exact`.

        Arguments and independence as for `sample`. ValueError where the kind has no such form.
        """
        raise ValueError(self.exact_problems()[0])

    def distance(self, dim: int) -> float:
        """At least the total variation distance between `steps` on `dim` coordinates and the ideal law on the grid."""
        raise ValueError(self.exact_problems()[0])

    def exact_problems(self) -> list[str]:
        """Why this noise cannot be drawn in exact arithmetic (empty: it can)."""
        return [f"noise of kind {self.kind} has no exact form; use `arithmetic: float`"]

    @property
    def exponent(self) -> int | None:
        """k where this law is the generalised Gaussian N^g(k, sigma), 0 being the Gaussian; None for other laws."""
        return None

    def warmed(self, counter: int, length: int) -> Self:
        """The law to train with after `counter` of `length` units of a warm-up; this law itself where there is none."""
        return self

    def problems(self, dim: int) -> list[str]:
        """Why this noise cannot be used on images with `dim` coordinates (empty: it can)."""
        return []
