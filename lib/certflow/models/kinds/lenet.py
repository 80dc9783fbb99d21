"""LeNet 20-50-500 for MNIST and Fashion-MNIST (LeCun et al. 1998, in the variant of the smoothing papers)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec
from certflow.models.shapes import refusal

if TYPE_CHECKING:
    import torch


@register("lenet")
class LeNet(ModelSpec):
    """Two 5×5 convolutions (20 and 50 filters), two linear layers, no normalisation; 431,080 parameters with 10 classes."""

    kind: Literal["lenet"] = "lenet"
    natural: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def problems(self, info: DataInfo) -> list[str]:
        return [] if info.shape == self.natural else [refusal(self.kind, "1x28x28", info.shape)]

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.lenet import LeNet

        return LeNet(info.classes)
