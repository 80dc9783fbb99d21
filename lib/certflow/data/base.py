"""What every dataset has: facts that are known without reading anything, and the splits that reading gives."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from certflow.data.items import Item, Pixels, Tokens
from certflow.kinds.spec import Spec

if TYPE_CHECKING:
    from certflow.data.splits import ArraySplit
    from certflow.data.tree import TreeSplit

SplitName = Literal["train", "test"]
Augmentation = Literal["none", "crop_flip", "resized_crop_flip"]


@dataclass(frozen=True)
class DataInfo:
    """Facts about a dataset that are known from its spec alone.

    `shape` is (channels, height, width) of one image as the network sees it, or (length,) of a text; `mean` and `sd` per
    channel, in [0,1] pixel units, are the normalisation the field uses (None: none); `augmentation` is what training applies
    by default. `streams` says that the images do not fit in memory and are decoded on the way.
    """

    classes: int
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None = None
    sd: tuple[float, ...] | None = None
    augmentation: Augmentation = "none"
    streams: bool = False
    size: dict[str, int] | None = None
    """Items per split where the spec alone says it, else None."""
    vocabulary: int | None = None
    """Number of different tokens, padding included, where the items are texts; None for images."""

    @property
    def item(self) -> Item:
        """What is classified."""
        return Pixels(self.shape) if self.vocabulary is None else Tokens(self.shape, self.vocabulary)

    @property
    def words(self) -> int:
        """`vocabulary` of texts; ValueError for images."""
        if self.vocabulary is None:
            raise ValueError("images have no vocabulary")
        return self.vocabulary

    @property
    def dim(self) -> int:
        """Number of coordinates of one image, or of tokens of one text."""
        return math.prod(self.shape)


class Split(Protocol):
    """One split of a dataset: random access to images by their position in the full split."""

    @property
    def labels(self) -> np.ndarray:
        """int64 [n]"""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Stored items [k, *shape] (`certflow.data.items`) at `indices` (int64 [k]), evaluation transform applied."""
        ...

    def describe(self, index: int) -> str:
        """Where image `index` comes from, for error messages: a file, or `file[index]`."""
        ...


class DatasetSpec(Spec):
    """Base of all dataset kinds. `root` is a place, not an identity: the manifest's content digest is the identity."""

    family: ClassVar[str] = "dataset"
    unhashed: ClassVar[frozenset[str]] = frozenset({"root", "download"})

    root: str | None = None
    """Folder with the files; default `$CERTFLOW_DATA/<kind>`, or `data/<kind>` where that is not set."""
    download: bool = False
    """Fetch the files (checksummed) when they are missing; off by default, since compute nodes have no network."""

    def info(self) -> DataInfo:
        """Facts known without reading anything."""
        raise NotImplementedError

    def names(self) -> tuple[str, ...]:
        """What the classes are called, in their order; empty where the specification does not say."""
        return ()

    def splits(self) -> tuple[SplitName, ...]:
        """The splits that the dataset has."""
        return ("train", "test")

    def source_state(self, root: Path) -> str | None:
        """A text that changes when the source files below `root` do, made without reading them; "" for known checksums, None
        where they are not there (the cache serves)."""
        return ""

    def read(self, split: SplitName, root: Path) -> "ArraySplit | TreeSplit":
        """Read and verify one split from the source files below `root`; a `DataError` names file and remedy."""
        raise NotImplementedError
