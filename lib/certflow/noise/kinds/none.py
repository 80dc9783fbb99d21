"""No noise at all: what classifiers meant for denoised or clean images are trained under."""

from typing import Any, Literal

from certflow.kinds.registry import lazy, register
from certflow.noise.base import NoiseSpec

torch = lazy("torch")


@register("none")
class NoNoise(NoiseSpec):
    """The law that puts all its mass on 0. Training under it is clean training; no certificate can be had from it."""

    kind: Literal["none"] = "none"

    sigma: Literal[0.0] = 0.0
    """Always 0."""

    def sample(self, shape: tuple[int, int, int], image: Any, draw: Any, *, seed: int, stream: int) -> Any:
        """float32 [rows, *shape] of zeros."""
        return torch.zeros(len(image), *shape, device=image.device)
