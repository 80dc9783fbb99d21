"""What every architecture states before a network is built."""

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, PositiveInt, model_validator

from certflow.data.base import DataInfo
from certflow.kinds.spec import Record, Spec

if TYPE_CHECKING:
    import torch

Setting = int | float | str | bool | list[int] | list[float]
"""A value that YAML can say and that libraries of networks take as a setting."""


Precision = Literal["float32", "bfloat16", "float16"]
"""Of the numbers that a network computes with."""


class Inference(Record):
    """How the base classifier is evaluated when it is sampled. Part of the classifier: other bits, another function.

    The same on every device: where a precision has no units of its own it is emulated, slowly.
    """

    precision: Precision = "float32"
    """`bfloat16` halves to quarters the time of large networks on GPUs since Ampere and on CPUs with AVX512-BF16 or AMX."""
    compile: bool = False
    """Compile the network for its device, which pays for long jobs; on a CPU it needs a C++ compiler."""
    fold: bool = True
    """Fold batch normalisation, input normalisation and the time of a diffusion model into the layers beside them (exact up to
    rounding)."""
    native: bool = False
    """On a CPU, compute convolutions by this project's C code, which needs a C compiler: 3×3 and 5×5 by Winograd's algorithm,
    with a quarter to a sixth of the products and ten times the rounding error of float32. Half the time of LeNet and of
    residual networks. In bfloat16 only 5×5; units for bfloat16 take no longer for 3×3. On a GPU its own library chooses."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.native and (self.compile or self.precision == "float16"):
            raise ValueError("native: is for float32 and bfloat16 without compile; leave one of them out")
        return self


def checked_inference(inference: Any) -> Inference:
    """`inference`, the usual one for None; TypeError with an example for anything else."""
    if inference is None or isinstance(inference, Inference):
        return inference or Inference()
    raise TypeError(
        f'inference: must be such as certflow.models.base.Inference(precision="bfloat16"), got {inference!r}'
    )


class Resize(Record):
    """How images are resized before a network that was made for another size: part of the function that is certified.

    First thing after the noise, on values in [0,1] that are not clipped, in float32, with `align_corners=False`.
    """

    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    """Height and width in pixels; one number for both."""
    mode: Literal["bilinear", "bicubic"] = "bicubic"
    """How values between pixels are found."""
    antialias: bool = True
    """Weigh all pixels under the filter when images shrink. When they grow it still decides which bicubic filter is used
    (with: a = -1/2, as in Pillow; without: a = -3/4)."""

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def _spelled_out(value: Any) -> Any:
    """`224` and `[224, 192]` mean images of that size, resized in the usual way."""
    given = value if isinstance(value, dict) else {"size": value}
    sides = given.get("size")
    return (
        value
        if value is None or isinstance(value, Resize)
        else {**given, "size": tuple(sides) if isinstance(sides, list) else sides}
    )


class ModelSpec(Spec):
    """Base of all architectures. The network takes images in [0,1] and normalises them itself, first thing; or texts."""

    family: ClassVar[str] = "model"
    natural: ClassVar[tuple[int, ...]]
    """Shape of the images that the architecture was made for, or (length,) of the texts."""
    words: ClassVar[int | None] = None
    """Size of the vocabulary that `natural` texts are of; None for images."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Packages that the network is built with and that are not installed with this project."""

    inference: Inference = Inference()
    """How the network is evaluated when it is sampled."""
    normalise: Literal["dataset", "none"] = "dataset"
    """`dataset`: with the dataset's usual mean and standard deviation; `none`: no normalisation layer."""
    resize: Annotated[
        Resize | None,
        BeforeValidator(
            _spelled_out, json_schema_input_type=PositiveInt | tuple[PositiveInt, PositiveInt] | Resize | None
        ),
    ] = None
    """Size of the images that the network sees, where it is not theirs: `224` for a network fine-tuned on enlarged images of 32
    pixels, or `{size, mode, antialias}`. Bicubic with antialiasing unless given."""

    def canonical(self) -> dict[str, Any]:
        """See `Spec.canonical`. Says nothing of images that are taken as they are."""
        fields = super().canonical()
        if self.resize is None:
            del fields["resize"]
        return fields

    def seen(self, info: DataInfo) -> DataInfo:
        """What the data look like to the network."""
        return info if self.resize is None else replace(info, shape=(info.shape[0], *self.resize.sides))

    def refusals(self, info: DataInfo) -> list[str]:
        """`problems` with such data, after resizing if there is any; items that the architecture does not take at all."""
        found = self.item_problems(info.item.name)
        if not found and self.resize is not None and info.vocabulary is not None:
            found = ["resize: texts have no height and width; leave it out"]
        return found or self.problems(self.seen(info))

    def architecture(self) -> dict[str, Any]:
        """The part of `canonical()` that training depends on: everything but `inference`."""
        fields = self.canonical()
        del fields["inference"]
        return fields

    @property
    def size_name(self) -> str:
        """The kind with its size, as published names write it (`cifar_resnet110`): what tables of rates look it up by."""
        return self.kind

    @property
    def brings_weights(self) -> bool:
        """Whether `backbone` comes with weights that were trained elsewhere."""
        return False

    def files(self) -> list[str]:
        """Local files that the network's weights come from, where it brings its own."""
        return []

    def brought(self) -> dict[str, str]:
        """Role → path of those that the entry names itself, the roles `model`, `model.1` and so on."""
        return {}

    def absent(self) -> list[str]:
        """What the network is made from besides the configuration and is not there: files, packages."""
        return [
            f"{self.kind}: needs the package {name}; install it beside this project"
            for name in self.requires
            if find_spec(name) is None
        ]

    def problems(self, info: DataInfo) -> list[str]:
        """Why this architecture cannot be used on images or texts of that shape (empty: it can)."""
        return []

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        """The freshly initialised network without its normalisation layer: [rows, *info.shape] → logits [rows, classes]."""
        raise NotImplementedError

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        """The same network for weights that are about to be loaded; kinds whose `backbone` fetches weights override it."""
        return self.backbone(info)
