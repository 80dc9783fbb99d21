"""Any architecture of the timm library (`huggingface/pytorch-image-models`), by its name there."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.timm_names import unknown

if TYPE_CHECKING:
    import torch


@register("timm")
class Timm(ModelSpec):
    """A model that timm builds, with as many channels and classes as the data have."""

    kind: Literal["timm"] = "timm"
    example: ClassVar[dict[str, Any]] = {"name": "resnet10t"}
    natural: ClassVar[tuple[int, int, int]] = (3, 224, 224)

    name: str = Field(min_length=1)
    """Such as `resnet18` or `vit_tiny_patch16_224`; `timm.list_models()` lists them."""
    pretrained: bool = False
    """Start from timm's pretrained weights, which are fetched (or taken from its cache) when the network is built."""
    options: dict[str, Any] = {}
    """Further settings that timm's model takes, such as `{global_pool: avg}`, `{depth: 6}` or `{img_size: 64}`."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        problem = unknown(name)
        if problem is not None:
            raise ValueError(problem)
        return name

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.timm import create

        return create(self.name, info, pretrained=self.pretrained, options=self.options)

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.timm import create

        return create(self.name, info, pretrained=False, options=self.options)
