"""A small convolutional network for images of 4×4 to 16×16 pixels, such as the 8×8 digits."""

from typing import TYPE_CHECKING, ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch

SIDES = (4, 16)
"""Smallest and largest height and width, in pixels."""


@register("small_conv")
class SmallConv(ModelSpec):
    """Two 3×3 convolutions (16 and 32 filters) with batch normalisation, two linear layers; 38,330 parameters on digits."""

    kind: Literal["small_conv"] = "small_conv"
    natural: ClassVar[tuple[int, int, int]] = (1, 8, 8)

    def problems(self, info: DataInfo) -> list[str]:
        low, high = SIDES
        if all(low <= side <= high for side in info.shape[1:]):
            return []
        return [refusal(self.kind, f"{low}x{low} to {high}x{high}", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.small_conv import SmallConv

        return SmallConv(info.shape, info.classes)
