"""ResNet-50 for ImageNet (He et al. 2016), in torchvision's definition, which the published smoothing checkpoints use."""

from typing import TYPE_CHECKING, ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch

SMALLEST = 64
"""Height and width, in pixels, below which the network's 32-fold reduction leaves nothing to look at."""


@register("resnet50")
class ResNet50(ModelSpec):
    """25,557,032 parameters with 1000 classes, 4.09 billion multiplications per 224×224 image; random initial weights."""

    kind: Literal["resnet50"] = "resnet50"
    natural: ClassVar[tuple[int, int, int]] = (3, 224, 224)

    def problems(self, info: DataInfo) -> list[str]:
        channels, height, width = info.shape
        if channels == 3 and min(height, width) >= SMALLEST:
            return []
        return [refusal(self.kind, f"3x224x224 (at least 3x{SMALLEST}x{SMALLEST})", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from torchvision.models import resnet50

        return resnet50(weights=None, num_classes=info.classes)
