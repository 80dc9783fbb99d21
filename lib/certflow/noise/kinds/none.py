"""No noise at all: what classifiers meant for denoised or clean images are trained under."""

from typing import Any, ClassVar, Literal

from certflow.kinds.registry import lazy, register
from certflow.noise.base import AdditiveNoise, Key

torch = lazy("torch")


@register("none")
class NoNoise(AdditiveNoise):
    """No noise. Training under it is clean training, and nothing can be certified under it."""

    kind: Literal["none"] = "none"
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels", "tokens"})

    sigma: Literal[0.0] = 0.0  # ty: ignore[invalid-type-form]  # pydantic takes numbers, too
    """Always 0."""

    def sample(self, shape: tuple[int, ...], key: Key) -> Any:
        """float32 [rows, *shape] of zeros."""
        return torch.zeros(len(key.image), *shape, dtype=torch.float32, device=key.image.device)

    def copies(self, x: Any, key: Key) -> Any:
        """See `NoiseSpec.copies`: the items as they are, texts included."""
        return x.clone()
