"""Image classifiers of the transformers library (`huggingface/transformers`), from a folder, a hub, or settings."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.hf_model import TransformersModel

if TYPE_CHECKING:
    import torch


@register("hf_image")
class HfImage(TransformersModel):
    """An image classifier as transformers' `save_pretrained` stores it, used with the weights that come with it.

    Weights are read from safetensors, and no code that comes with a model is run. The package transformers must be installed.
    """

    kind: Literal["hf_image"] = "hf_image"
    example: ClassVar[dict[str, Any]] = {
        "network": "vit",
        "settings": {
            "patch_size": 4,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    }
    natural: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    said_by_data: ClassVar[frozenset[str]] = TransformersModel.said_by_data | {"image_size", "num_channels"}
    read: ClassVar[tuple[str, ...]] = ("config.json", "model.safetensors", "preprocessor_config.json")

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks import hf_image

        if self.network is not None:
            return hf_image.create(self.network, info, self.settings)
        return hf_image.load(self._folder(), info)

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks import hf_image

        if self.network is not None:
            return self.backbone(info)
        return hf_image.empty(self._folder(), info)
