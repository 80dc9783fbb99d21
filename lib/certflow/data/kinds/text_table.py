"""Your own texts, or those of GLUE, IMDB and ANLI, from two local tables."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.data.base import DataInfo, SplitName
from certflow.data.text.dataset import TextDataset, Texts
from certflow.data.text.tasks import TASKS
from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import register


@register("text_table")
class TextTable(TextDataset):
    """Two tables of texts with labels, one for each split. `task` fills in the columns of a published task."""

    kind: Literal["text_table"] = "text_table"
    unhashed: ClassVar[frozenset[str]] = TextDataset.unhashed | {"task"}
    example: ClassVar[dict[str, Any]] = {"task": "rte", "length": 16, "vocabulary": 50}

    task: Literal["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli", "imdb", "anli"] | None = None
    """A published task, whose files are in the root as distributed: GLUE's, `imdb`, `anli`. Settings of the entry win."""
    train: str = Field("train.tsv", min_length=1)
    """The table of the training split, relative to the root."""
    test: str = Field("test.tsv", min_length=1)
    """That of the test split."""
    format: Literal["tsv", "csv", "jsonl"] = "tsv"
    """`tsv`: columns between tabs, quotes mean nothing; `csv`: with quotes; `jsonl`: one JSON object a line."""
    header: Annotated[bool, OnlyWith("format", "tsv", "csv")] = True
    """Whether the first line names the columns. Without one columns are numbers, from 0."""
    text: str | int = "text"
    """The column of the text."""
    pair: str | int | None = None
    """The column of a second text, for tasks on pairs."""
    label: str | int = "label"
    """The column of the label."""
    classes: list[str] = Field(min_length=2)
    """Values of the label's column, in the order of the classifier's outputs."""

    @model_validator(mode="before")
    @classmethod
    def _columns_of_the_task(cls, given: Any) -> Any:
        known = TASKS.get(given.get("task")) if isinstance(given, dict) and isinstance(given.get("task"), str) else None
        return given if known is None else {**known, **given}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: one is listed twice")
        for name, path in (("train", self.train), ("test", self.test)):
            if Path(path).is_absolute():
                raise ValueError(f"{name}: is relative to the root, got {path}; name the folder as `root`")
        columns = [self.text, self.label, *([] if self.pair is None else [self.pair])]
        if any(isinstance(column, int) for column in columns) and (self.header or self.format == "jsonl"):
            raise ValueError("text, pair, label: columns are numbers only in tables without a header")
        if any(isinstance(column, str) for column in columns) and not self.header and self.format != "jsonl":
            raise ValueError("text, pair, label: a table without a header has numbers for columns")
        if self.pair is not None and self.tokenizer == "pretrained":
            raise ValueError("pair: encoders tell two texts apart by segments, which tokens do not hold; use `words`")
        return self

    def info(self) -> DataInfo:
        return DataInfo(classes=len(self.classes), shape=(self.length,), vocabulary=self.tokens)

    def tables(self, root: Path) -> list[Path]:
        return [root / self.train, root / self.test]

    def texts(self, split: SplitName, root: Path) -> Texts:
        from certflow.data.source import missing, source_file
        from certflow.data.text.tables import read_rows
        from certflow.errors import DataError

        path = root / getattr(self, split)
        if not path.is_file():
            raise missing(self, path, f"the tables {self.train} and {self.test}", downloadable=False)
        texts, pairs, labels = [], [], []
        columns = [self.text, self.label, *([] if self.pair is None else [self.pair])]
        for number, (text, label, *pair) in read_rows(path, self.format, self.header, columns):
            if label not in self.classes:
                known = ", ".join(self.classes)
                raise DataError(
                    f"{path}, line {number}: has the label {label!r}, which is not among `classes`: {known}"
                )
            texts.append(text)
            pairs += pair
            labels.append(self.classes.index(label))
        name = f"{root.name}/{getattr(self, split)}"
        return Texts(texts, pairs if self.pair is not None else None, labels, name, (source_file(path, root),))
