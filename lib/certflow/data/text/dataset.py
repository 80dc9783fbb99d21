"""Datasets of texts: what their kinds have in common, which is everything but where the texts lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.data.base import DatasetSpec, SplitName
from certflow.data.source import SourceFile
from certflow.data.text.words import SPECIAL
from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy

if TYPE_CHECKING:
    from certflow.data.splits import ArraySplit
    from certflow.data.text.pretrained import Pretrained
    from certflow.data.text.words import Words

np = lazy("numpy")


@dataclass(frozen=True)
class Texts:
    """One split as its files hold it."""

    texts: Sequence[str]
    pairs: Sequence[str] | None
    """The second text of each row, for tasks on pairs of texts."""
    labels: Sequence[int]
    name: str
    files: Sequence[SourceFile] = ()


class TextDataset(DatasetSpec):
    """Base of the kinds that hold texts: a tokenizer learnt on the training split, or a pretrained one."""

    revision: ClassVar[int] = 2
    unhashed: ClassVar[frozenset[str]] = DatasetSpec.unhashed | {"pretrained"}

    length: int = Field(128, ge=2, le=8192)
    """Tokens of a text: longer texts are cut, shorter ones are filled with padding, which is ignored."""
    tokenizer: Literal["words", "pretrained"] = "words"
    """`words`: whole words, the most frequent ones of the training split; `pretrained`: that of the encoder in `pretrained`."""
    vocabulary: int = Field(8000, ge=SPECIAL + 1, le=2_000_000)
    """Number of tokens: of words, three special ones included, or of the pretrained tokenizer (`vocab_size` of its encoder)."""
    pretrained: Annotated[str | None, OnlyWith("tokenizer", "pretrained")] = Field(None, min_length=1)
    """Folder with the encoder's `tokenizer.json`."""

    @model_validator(mode="after")
    def _one_tokenizer(self) -> Self:
        if self.download:
            raise ValueError("download: there is no place to fetch texts from; leave it out")
        return self

    @property
    def tokens(self) -> int:
        """Number of different tokens in the data: padding has a number that no pretrained token has."""
        from certflow.data.text.pretrained import SHIFT

        return self.vocabulary + (SHIFT if self.tokenizer == "pretrained" else 0)

    def texts(self, split: SplitName, root: Path) -> Texts:
        """The split from its files below `root`; a `DataError` names file and remedy."""
        raise NotImplementedError

    def tables(self, root: Path) -> list[Path]:
        """Those files of `texts` that have no known checksums."""
        return []

    def source_state(self, root: Path) -> str | None:
        """Sizes and times of `tables` and of a pretrained tokenizer: see `DatasetSpec.source_state`."""
        from certflow.data.text.pretrained import FILE
        from certflow.kinds.spec import digest

        files = [*self.tables(root), *([] if self.pretrained is None else [Path(self.pretrained) / FILE])]
        if not all(file.is_file() for file in files):
            return None
        if not files:
            return ""
        return digest([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])

    def encoder(self, root: Path, train: Texts | None = None) -> "Words | Pretrained":
        """What turns texts into tokens; words are learnt anew from the training split. train: this split, if it is read."""
        from certflow.data.text.pretrained import FILE, Pretrained
        from certflow.data.text.words import Words
        from certflow.errors import DataError

        if self.tokenizer == "words":
            train = self.texts("train", root) if train is None else train
            return Words.learnt([*train.texts, *(train.pairs or ())], self.vocabulary)
        if self.pretrained is None:
            raise DataError(f"{self.kind}: tokenizer: pretrained needs `pretrained`, the folder of its {FILE}")
        return Pretrained(self.pretrained)

    def read(self, split: SplitName, root: Path) -> "ArraySplit":
        """The split as tokens, int32 [n, length]."""
        from certflow.data.splits import ArraySplit

        found = self.texts(split, root)
        encoder = self.encoder(root, found if split == "train" else None)
        rows = np.zeros((len(found.texts), self.length), dtype=np.int32)
        for row, text, pair in zip(rows, found.texts, found.pairs or [None] * len(rows), strict=True):
            tokens = encoder.encode(text, pair, self.length)
            row[: len(tokens)] = tokens
        labels = np.array(found.labels, dtype=np.int64)
        return ArraySplit(rows, labels, found.name, found.files, {"tokenizer": encoder.record()})
