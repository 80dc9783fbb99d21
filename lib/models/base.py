"""What every architecture states before a network is built."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lib.data.base import DataInfo
from lib.spec import Record, Spec

if TYPE_CHECKING:
    import torch


class Inference(Record):
    """How the base classifier is evaluated when it is sampled. Part of the classifier: other bits, another function.

    The same on every device: where a precision has no units of its own it is emulated, slowly.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """`bfloat16` halves to quarters the time of large networks on GPUs since Ampere and on CPUs with AVX512-BF16 or AMX."""
    compile: bool = False
    fold: bool = True
    """Fold batch normalisation and input normalisation into the convolutions (exact up to rounding)."""


class ModelSpec(Spec):
    """Base of all architectures. The network takes images in [0,1] and normalises them itself, first thing."""

    family: ClassVar[str] = "model"
    natural: ClassVar[tuple[int, int, int]]
    """Shape of the images that the architecture was made for."""

    inference: Inference = Inference()
    normalise: Literal["dataset", "none"] = "dataset"
    """`dataset`: with the dataset's usual mean and standard deviation; `none`: no normalisation layer."""

    def architecture(self) -> dict[str, Any]:
        """The part of `canonical()` that training depends on: everything but `inference`."""
        fields = self.canonical()
        del fields["inference"]
        return fields

    def problems(self, info: DataInfo) -> list[str]:
        """Why this architecture cannot be used on such data (empty: it can)."""
        return []

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        """The freshly initialised network without its normalisation layer: [rows, *info.shape] → logits [rows, classes]."""
        raise NotImplementedError

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        """The same network for weights that are about to be loaded; kinds whose `backbone` fetches weights override it."""
        return self.backbone(info)
