"""CIFAR-10: 32×32 colour photographs in 10 classes (Krizhevsky 2009)."""

from typing import ClassVar, Literal

from certflow.data.cifar import CifarDataset
from certflow.kinds.registry import register


@register("cifar10")
class Cifar10(CifarDataset):
    """The files of `cifar-10-python.tar.gz`, unpacked. Normalisation constants as in the field's published code."""

    kind: Literal["cifar10"] = "cifar10"

    torchvision_class: ClassVar[str] = "CIFAR10"
    classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, float, float]] = (0.4914, 0.4822, 0.4465)
    sd: ClassVar[tuple[float, float, float]] = (0.2023, 0.1994, 0.2010)
