"""Wide residual networks for 32×32 images (Zagoruyko and Komodakis 2016)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch


@register("wide_resnet")
class WideResNet(ModelSpec):
    """WRN-depth-width without dropout; WRN-28-10 has 36,479,194 parameters with 10 classes."""

    kind: Literal["wide_resnet"] = "wide_resnet"
    example: ClassVar[dict[str, Any]] = {"depth": 10, "width": 1}
    natural: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    depth: int = Field(28, ge=10, le=1000)
    """Layers, 6n+4 with n blocks per stage: 10, 16, 22, 28, 34, 40, 70."""
    width: int = Field(10, ge=1, le=1000)
    """Factor on the 16, 32 and 64 channels of the three stages."""

    @field_validator("depth")
    @classmethod
    def _six_n_plus_four(cls, depth: int) -> int:
        if (depth - 4) % 6:
            raise ValueError("must be 6n+4 (10, 16, 22, 28, 34, 40, 70, …)")
        return depth

    @property
    def size_name(self) -> str:
        return f"{self.kind}{self.depth}_{self.width}"

    def problems(self, info: DataInfo) -> list[str]:
        return [] if info.shape[1:] == self.natural[1:] else [refusal(self.kind, "3x32x32", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.wide_resnet import WideResNet

        return WideResNet(self.depth, self.width, info.shape[0], info.classes)
