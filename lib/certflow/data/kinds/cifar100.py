"""CIFAR-100: 32×32 colour photographs in 100 classes (Krizhevsky 2009)."""

from typing import ClassVar, Literal

from certflow.data.cifar import CifarDataset
from certflow.kinds.registry import register


@register("cifar100")
class Cifar100(CifarDataset):
    """The files of `cifar-100-python.tar.gz`, unpacked. Normalisation constants as in the field's published code."""

    kind: Literal["cifar100"] = "cifar100"

    torchvision_class: ClassVar[str] = "CIFAR100"
    classes: ClassVar[int] = 100
    mean: ClassVar[tuple[float, float, float]] = (0.5071, 0.4867, 0.4408)
    sd: ClassVar[tuple[float, float, float]] = (0.2675, 0.2565, 0.2761)
