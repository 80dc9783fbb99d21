"""Any architecture of the timm library (`huggingface/pytorch-image-models`), by its name there."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec, Setting
from certflow.models.timm_names import unknown

if TYPE_CHECKING:
    import torch


TAKEN = {
    "num_classes",
    "in_chans",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}
"""What timm would take as a setting, too, but the data say or another key."""


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
    settings: dict[str, Setting] = {}
    """Further settings that timm's model takes, such as `{depth: 4, embed_dim: 64, num_heads: 4}` or `{img_size: 64}`."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        problem = unknown(name)
        if problem is not None:
            raise ValueError(problem)
        return name

    @field_validator("settings")
    @classmethod
    def _free(cls, settings: dict[str, Setting]) -> dict[str, Setting]:
        for name in sorted(settings.keys() & TAKEN):
            raise ValueError(f"{name} is not a setting of the network: the data or another key of this entry say it")
        return settings

    @property
    def brings_weights(self) -> bool:
        """`pretrained`."""
        return self.pretrained

    def problems(self, info: DataInfo) -> list[str]:
        """Settings that timm's model does not take; timm is asked only where there are any."""
        if not self.settings:
            return []
        from certflow.models.networks.timm import refusal

        problem = refusal(self.name, info, self.settings)
        return [] if problem is None else [f"settings: {problem}"]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.timm import create

        return create(self.name, info, pretrained=self.pretrained, settings=self.settings)

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.timm import create

        return create(self.name, info, pretrained=False, settings=self.settings)
