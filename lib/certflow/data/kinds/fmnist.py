"""Fashion-MNIST: articles of clothing in MNIST's format (Xiao, Rasul, Vollgraf 2017)."""

from typing import ClassVar, Literal

from certflow.data.base import DataInfo
from certflow.data.idx_dataset import Checksum, IdxDataset
from certflow.kinds.registry import register


@register("fmnist")
class FashionMnist(IdxDataset):
    """The four distributed idx.gz files, checked by the MD5 that their publishers state. No normalisation, as in the field."""

    kind: Literal["fmnist"] = "fmnist"

    torchvision_class: ClassVar[str] = "FashionMNIST"
    checksums: ClassVar[dict[str, Checksum]] = {
        "train-images-idx3-ubyte": Checksum(gz_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": Checksum(gz_md5="25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": Checksum(gz_md5="bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": Checksum(gz_md5="bb300cfdad3c16e7a12a480ee83cd310"),
    }

    def info(self) -> DataInfo:
        return DataInfo(classes=10, shape=(1, 28, 28), size={"train": 60_000, "test": 10_000})
