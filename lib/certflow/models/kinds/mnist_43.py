"""The MNIST network of double-sampling randomised smoothing (Li et al. 2022): four convolutions, three linear layers."""

from typing import TYPE_CHECKING, ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch


@register("mnist_43")
class Mnist43(ModelSpec):
    """Convolutions of 32, 32, 64 and 64 filters, linear layers of 512, 512 and C; 1,974,762 parameters with 10 classes."""

    kind: Literal["mnist_43"] = "mnist_43"
    natural: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def problems(self, info: DataInfo) -> list[str]:
        return [] if info.shape == self.natural else [refusal(self.kind, "1x28x28", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.mnist_43 import mnist_43

        return mnist_43(info.classes)
