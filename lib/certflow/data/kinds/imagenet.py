"""ImageNet (ILSVRC 2012): photographs in 1,000 classes (Russakovsky et al. 2015), decoded when needed."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from certflow.data.base import DataInfo, SplitName
from certflow.data.tree import TreeDataset
from certflow.kinds.registry import register

if TYPE_CHECKING:
    from certflow.data.pixels import Rendering

CLASSES = 1000
SIZE = {"train": 1_281_167, "test": 50_000}


@register("imagenet")
class ImageNet(TreeDataset):
    """`<root>/train/<wnid>/*.JPEG` and, as test split, `<root>/val/<wnid>/*.JPEG`.

    The layout that torchvision's `ImageNet` class and the usual scripts unpack the archives into; the flat folder of the
    validation archive must be sorted into class folders first. Evaluation: shorter side to 256, centre 224×224.
    """

    kind: Literal["imagenet"] = "imagenet"
    normalisation: Literal["usual", "dsrs"] = "usual"
    """`usual`: mean and standard deviation; `dsrs`: the mean is subtracted and nothing divided, as in the DSRS code."""
    only: Literal["test"] | None = None
    """`test`: only the validation images are there (a finished model is certified). Null: both."""

    folders: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    @model_validator(mode="after")
    def _no_download(self) -> "ImageNet":
        if self.download:
            raise ValueError(
                "download: ImageNet needs a licence; get it from image-net.org and name its folder in root"
            )
        return self

    def info(self) -> DataInfo:
        return DataInfo(
            classes=CLASSES,
            shape=(3, 224, 224),
            mean=(0.485, 0.456, 0.406),
            sd=(1.0, 1.0, 1.0) if self.normalisation == "dsrs" else (0.229, 0.224, 0.225),
            augmentation="resized_crop_flip",
            streams=True,
            size={name: SIZE[name] for name in self.splits()},
        )

    def splits(self) -> tuple[SplitName, ...]:
        return ("train", "test") if self.only is None else (self.only,)

    def rendering(self) -> "Rendering":
        from certflow.data.pixels import Rendering

        # Some of its files are grey or CMYK, one is a PNG: everyone converts them.
        return Rendering((3, 224, 224), "shorter_side_crop", 256, "convert")
