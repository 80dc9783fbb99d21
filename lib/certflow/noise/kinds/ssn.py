"""Splitting with independent noise, SSN (Levine and Feizi 2021)."""

from typing import Any, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.noise.base import Key
from certflow.noise.splitting import Splitting, thresholds

philox = lazy("certflow.noise.philox")
pieces = lazy("certflow.noise.pieces")
steps = lazy("certflow.noise.steps")


@register("ssn")
class IndependentSplitting(Splitting):
    """Every coordinate is cut at places of its own, uniformly random: independent for coordinates, images and draws."""

    kind: Literal["ssn"] = "ssn"
    example: ClassVar[dict[str, Any]] = {"sigma": 0.5}

    def copies(self, x: Any, key: Key) -> Any:
        """See `NoiseSpec.copies`: x in [0,1], copies too."""
        dim = x[0].numel()
        cut = philox.uniforms(dim, key).mul_(self.width)
        return pieces.middles(x, cut.view(-1, *x.shape[1:]), self.width)

    def pieces(self, levels: Any, key: Key) -> Any:
        """See `Splitting.pieces`: the cut lies at one of L places, each as likely."""
        shape, law = levels.shape[-3:], (thresholds, self.cuts)
        drawn = steps.inverted(shape.numel(), key, law)
        return pieces.whole_middles(levels, drawn.add((self.cuts - 1) // 2).view(-1, *shape), self.cuts)

    def says(self, exact: bool) -> str:
        """See `NoiseSpec.says`."""
        if exact:
            return (
                "exact (each coordinate is cut half-way between two grey levels, chosen by random integers; radii hold for "
                "8-bit images)"
            )
        return super().says(exact)
