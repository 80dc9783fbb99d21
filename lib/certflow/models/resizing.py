"""Enlarging or reducing images before a network that was made for another size."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float

from certflow.models.normalise import Normalise

if TYPE_CHECKING:
    from certflow.models.base import Resize

Images = Float[torch.Tensor, "rows channels height width"]


class Network(torch.nn.Sequential):
    """Sequential(normalise, backbone), both of which see images resized first where `resize` says so.

    Noise is added before everything, so radii are stated in the pixel space of the images as they are.
    """

    def __init__(self, normalise: Normalise, backbone: torch.nn.Module, resize: "Resize | None" = None):
        super().__init__(normalise, backbone)
        self.resize = resize

    def forward(self, x: Images) -> Float[torch.Tensor, "rows classes"]:
        return super().forward(x if self.resize is None else resized(x, self.resize))

    def normalised_by(self, layer: Normalise) -> "Network":
        """The same network behind another normalisation; weights are shared."""
        return Network(layer, self[1], self.resize)


def resized(x: Images, resize: "Resize") -> Float[torch.Tensor, "rows channels rows_seen columns_seen"]:
    """The images at another size; weights of every new pixel sum to 1, so values in [0,1] stay near it. Computed in float32."""
    whole = F.interpolate(
        x.float(), size=resize.sides, mode=resize.mode, antialias=resize.antialias, align_corners=False
    )
    return whole.to(x.dtype)
