"""MNIST: handwritten digits, 28×28, grey (LeCun, Cortes, Burges 1998)."""

from typing import ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.data.idx_dataset import Checksum, IdxDataset
from certflow.kinds.registry import register


@register("mnist")
class Mnist(IdxDataset):
    """The four standard idx files, compressed or not, checked by the SHA-256 of their content."""

    kind: Literal["mnist"] = "mnist"
    normalisation: Literal["none", "dsrs"] = "none"
    """`none`: as SmoothMix and CAT-RS; `dsrs`: mean 0.5 and standard deviation 0.5, as the DSRS code (Li et al. 2022)."""

    torchvision_class: ClassVar[str] = "MNIST"
    checksums: ClassVar[dict[str, Checksum]] = {
        "train-images-idx3-ubyte": Checksum(
            gz_md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
            content_sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        "train-labels-idx1-ubyte": Checksum(
            gz_md5="d53e105ee54ea40749a09fcbcd1e9432",
            content_sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        "t10k-images-idx3-ubyte": Checksum(
            gz_md5="9fb629c4189551a2d022fa330f9573f3",
            content_sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        "t10k-labels-idx1-ubyte": Checksum(
            gz_md5="ec29112dd5afa0611ce80d1b7f02629c",
            content_sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    }

    def info(self) -> DataInfo:
        half = (0.5,) if self.normalisation == "dsrs" else None
        return DataInfo(classes=10, shape=(1, 28, 28), mean=half, sd=half, size={"train": 60_000, "test": 10_000})
