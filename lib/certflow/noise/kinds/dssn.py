"""Splitting with dependent noise, DSSN: all outcomes can be counted (Levine and Feizi 2021)."""

from hashlib import sha256
from typing import Any, ClassVar, Literal

from pydantic import Field

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.grid import LEVELS
from certflow.noise.splitting import Splitting

philox = lazy("certflow.noise.philox")
pieces = lazy("certflow.noise.pieces")


@register("dssn")
class DependentSplitting(Splitting):
    """One random shift moves the cuts of all coordinates: coordinate i is cut half a grey level above (v_i + t) mod L.

    The offsets v are fixed, the same for all images, in training and certification. The shift t has L = `cuts` values: with the
    sampler `enumerated` each is tried once, and the smoothed classifier is known exactly, for 8-bit images.
    """

    kind: Literal["dssn"] = "dssn"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}
    offers: ClassVar[frozenset[str]] = frozenset({"levelwise"})

    offsets_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the fixed offsets v; 0 in the paper."""

    @property
    def outcomes(self) -> int:
        """L."""
        return self.cuts

    def copies(self, x: Any, key: Key) -> Any:
        """See `NoiseSpec.copies`: one random shift for each row. x in [0,1]."""
        cut = self._cut(x.shape[1:], self._shift(key)).to(x.dtype).add_(0.5).div_(LEVELS)
        return pieces.middles(x, cut, self.whole_width)

    def pieces(self, levels: Any, key: Key) -> Any:
        """See `Splitting.pieces`: one random shift for each row."""
        return self.outcome(levels, self._shift(key))

    def outcome(self, levels: Any, number: Any) -> Any:
        """See `NoiseSpec.outcome`: the shift is the outcome's number."""
        return pieces.whole_middles(levels, self._cut(levels.shape[-3:], number), self.cuts)

    def describe(self, dim: int) -> dict[str, Any]:
        """See `NoiseSpec.describe`: L, the width of pieces, and the digest of the offsets."""
        digest = sha256(pieces.fixed_offsets(self.cuts, dim, self.offsets_seed).astype("<i8").tobytes()).hexdigest()
        return {"outcomes": self.cuts, "width": self.whole_width, "offsets_sha256": digest}

    def problems(self, dim: int) -> list[str]:
        """See `NoiseSpec.problems`: cuts are whole in all arithmetics."""
        return self.exact_problems()

    def says(self, exact: bool) -> str:
        """See `NoiseSpec.says`."""
        which = f"all {self.cuts:,} shifts of the cuts; deterministic, for the recorded device and precision"
        return f"every outcome counted ({which})"

    def _shift(self, key: Key) -> Any:
        """int64 [rows], in [0, L)."""
        return philox.integers(1, key, high=self.cuts)[:, 0]

    def _cut(self, shape: Any, shift: Any) -> Any:
        """int16 [rows, *shape]: the grey level below each coordinate's cut."""
        fixed = pieces.offsets(self.cuts, shape.numel(), self.offsets_seed, shift.device)
        return pieces.shifted(fixed, shift, self.cuts).view(-1, *shape)
