"""What every source of corrupted images states: which corruptions, how strong, from which files, and how to read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from certflow.data.base import DataInfo, Split
from certflow.data.source import SourceFile, data_root
from certflow.errors import DataError
from certflow.files.intact import DAMAGE, opened
from certflow.files.npz import map_array
from certflow.files.paths import without_braces
from certflow.kinds.spec import Spec


class CorruptionSpec(Spec):
    """Base of all kinds. Torch-free.

    A corruption is a name (`fog`); at each of its severities there is one corrupted copy of every test image. With n test
    images, the copy of image i at severity s has the number (s - 1) · n + i: its row in the files of CIFAR-10-C.
    """

    family: ClassVar[str] = "corruption"
    unhashed: ClassVar[frozenset[str]] = frozenset({"root", "names"})
    known: ClassVar[tuple[str, ...]] = ()
    """Names of all corruptions of this kind."""
    usual: ClassVar[tuple[str, ...]] = ()
    """Those that are taken where none are named; empty: all."""
    clean: ClassVar[frozenset[str]] = frozenset()
    """Names that do not corrupt; they are shown but do not enter the mean over corruptions."""

    root: str | None = None
    """Folder with the files; default `$CERTFLOW_DATA/<kind>`, or `data/<kind>` where that is not set."""
    names: list[str] | None = None
    """Which corruptions; null: the usual ones."""

    @field_validator("root")
    @classmethod
    def _no_wildcards(cls, root: str | None) -> str | None:
        return None if root is None else without_braces(root)

    @field_validator("names")
    @classmethod
    def _known_names(cls, names: list[str] | None) -> list[str] | None:
        for name in names or []:
            if name not in cls.known:
                raise ValueError(f"has no corruption {name!r}; known: {', '.join(cls.known)}")
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError("must list at least one corruption, and none twice")
        return names

    @classmethod
    def averaged(cls) -> list[str]:
        """The corruptions that papers take the mean over."""
        return [name for name in cls.usual or cls.known if name not in cls.clean]

    def chosen(self) -> tuple[str, ...]:
        """The corruptions that are evaluated, in the order given."""
        return tuple(self.names) if self.names is not None else self.usual or self.known

    def levels(self) -> tuple[int, ...]:
        """The severities, ascending; (1,) where a kind has one."""
        return (1,)

    def of(self, name: str) -> dict[str, Any]:
        """What the images of one corruption depend on, besides source files and clean images."""
        return {**self.canonical(), "name": name}

    def problems(self, info: DataInfo) -> list[str]:
        """Why there are no such copies of these data (empty: there are)."""
        return ["copies are held in memory; these images are decoded when they are needed"] if info.streams else []

    def published_as(self, dataset: str) -> str | None:
        """Under which name `lib/certflow/report/data/published` has results on these copies of a kind of dataset."""
        return None

    def files(self, name: str) -> list[Path]:
        """The source files of one corruption."""
        return []

    def read(self, name: str, clean: Split, info: DataInfo) -> tuple[np.ndarray, list[SourceFile]]:
        """uint8 [severities · n, channels, height, width], severity by severity in the order of `levels`, and what was read.

        `DataError` where files do not fit the clean split.
        """
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return data_root(self)


class Graded(CorruptionSpec):
    """Base of the kinds whose corruptions come in five severities, from 1 (weak) to 5."""

    severities: list[int] = Field([1, 2, 3, 4, 5], min_length=1)
    """Which of the severities 1 to 5."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if sorted(set(self.severities)) != self.severities or not set(self.severities) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"severities must be some of 1 to 5, ascending, got {self.severities}")
        return self

    def levels(self) -> tuple[int, ...]:
        return tuple(self.severities)


def read_array(path: Path, shape: Sequence[int | None]) -> np.ndarray:
    """A `.npy` file of bytes (labels: of whole numbers), mapped from disk; None in `shape`: any size. Nothing is unpickled."""
    try:
        with opened(path) as file:
            array = map_array(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found; put it there, or name its folder in `corruptions.<name>.root`") from error
    except DAMAGE as error:
        raise DataError(f"{path}: is not an intact .npy file of numbers ({error}); fetch it again") from error
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iu" or (len(shape) > 1 and array.dtype != np.uint8):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise DataError(
            f"{path}: holds {array.dtype} {list(array.shape)}, expected whole numbers [{expected}]; get the file "
            f"again, or check that it belongs to this dataset"
        )
    return array


def require_labels(path: Path, found: np.ndarray, clean: Split, copies: int) -> None:
    """The labels of a file must be those of the clean split, `copies` times one after the other."""
    wanted = np.tile(clean.labels, copies)
    if len(found) != len(wanted) or (found != wanted).any():
        first = int(np.argmax(found[: len(wanted)] != wanted[: len(found)])) if len(found) == len(wanted) else None
        where = f"{len(found)} labels for {len(wanted)} images" if first is None else f"label of row {first} differs"
        raise DataError(f"{path}: {where}; the copies must be of the dataset's test images, in the same order")
