"""The first layer of every network: from [0,1] pixels to the range the network was made for."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,), (0.5,))
"""(means, standard deviations) that the papers' code applies to [0,1] pixels; published files do not contain them."""


class Normalise(nn.Module):
    """(x − mean) / sd per channel, with mean and sd as buffers [channels, 1, 1]; without them, x itself.

    A mean without sd centres only (sd 1). Noise is added before this layer, so radii are stated in the pixel space of the
    raw image (Cohen et al. 2019).
    """

    def __init__(self, mean: Sequence[float] | None = None, sd: Sequence[float] | None = None):
        super().__init__()
        if mean is None and sd is not None:
            raise ValueError("normalisation by sd alone: give the mean too (0 to scale only)")
        if mean is not None:
            sd = [1.0] * len(mean) if sd is None else sd
            if len(mean) != len(sd):
                raise ValueError(f"normalisation: {len(mean)} means but {len(sd)} standard deviations")
            if not all(0 < value < math.inf for value in sd):
                raise ValueError(f"normalisation: standard deviations must be above 0 and finite, got {list(sd)}")
            if not all(math.isfinite(value) for value in mean):
                raise ValueError(f"normalisation: means must be finite, got {list(mean)}")
        self.mean: torch.Tensor | None
        self.sd: torch.Tensor | None
        self.register_buffer("mean", None if mean is None else _per_channel(mean))
        self.register_buffer("sd", None if sd is None else _per_channel(sd))

    @classmethod
    def like(cls, mean: torch.Tensor | None, sd: torch.Tensor | None) -> "Normalise":
        """A layer with these buffers as its values, if there are any."""
        return cls(*(None if values is None else values.flatten().tolist() for values in (mean, sd)))

    def forward(
        self, x: Float[torch.Tensor, "rows channels height width"]
    ) -> Float[torch.Tensor, "rows channels height width"]:
        if self.mean is None or self.sd is None:
            return x
        # One channel would become as many as there are means. A tracer's symbol has no shape to look at.
        if isinstance(x, torch.Tensor) and len(self.mean) not in (1, x.shape[-3]):
            raise ValueError(f"images of {x.shape[-3]} channels cannot be normalised by {len(self.mean)} means")
        return (x - self.mean) / self.sd

    def does_as(self, other: "Normalise") -> bool:
        """Whether both layers do the same, up to rounding."""
        if self.mean is None or self.sd is None or other.mean is None or other.sd is None:
            return self.mean is None and other.mean is None
        pairs = ((self.mean, other.mean), (self.sd, other.sd))
        return all(a.shape == b.shape and torch.allclose(a.cpu(), b.cpu()) for a, b in pairs)

    def extra_repr(self) -> str:
        if self.mean is None or self.sd is None:
            return "identity"
        return f"mean={self.mean.flatten().tolist()}, sd={self.sd.flatten().tolist()}"


def _per_channel(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float32)[:, None, None]


def normalisation(network: nn.Sequential) -> Normalise:
    """The first layer of a network as `certflow.models.build` makes it."""
    first = network[0]
    if not isinstance(first, Normalise):
        raise TypeError(f"a network begins with its normalisation, not with {type(first).__name__}")
    return first
