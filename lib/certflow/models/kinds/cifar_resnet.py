"""ResNets for 32×32 images (He et al. 2016, section 4.2): depth 20 and 110 are the field's CIFAR networks."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch


@register("cifar_resnet")
class CifarResNet(ModelSpec):
    """Three stages of basic blocks with 16, 32 and 64 channels.

    With 10 classes and 3 channels depth 20 has 272,474 parameters, depth 110 has 1,730,714.
    """

    kind: Literal["cifar_resnet"] = "cifar_resnet"
    example: ClassVar[dict[str, Any]] = {"depth": 8}
    natural: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    depth: int = Field(110, ge=8, le=2000)
    """Layers, 6n+2 with n blocks per stage: 20, 32, 44, 56, 110."""

    @field_validator("depth")
    @classmethod
    def _six_n_plus_two(cls, depth: int) -> int:
        if (depth - 2) % 6:
            raise ValueError("must be 6n+2 (8, 14, 20, 26, 32, 44, 56, 110, …)")
        return depth

    @property
    def size_name(self) -> str:
        return f"{self.kind}{self.depth}"

    def problems(self, info: DataInfo) -> list[str]:
        return [] if info.shape[1:] == self.natural[1:] else [refusal(self.kind, "3x32x32", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.cifar_resnet import CifarResNet

        return CifarResNet(self.depth, info.shape[0], info.classes)
