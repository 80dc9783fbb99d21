"""The training log: one row per epoch, readable while the training goes on.

Columns: `epoch` (from 0), `seconds` (training and evaluation), `lr` (the rate of the epoch's last step), `train_loss`,
`train_accuracy` (empty where the method reports none), what the method reports besides (`MethodSpec.extras`), `test_loss`,
`test_accuracy` and, with more than five classes, `test_top5` (base classifier on one noisy draw per test image),
`images_per_second` (distinct training images).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certflow.files.artefact import write_text_table
from certflow.files.provenance import Provenance

LOG_FORMAT = "training log"
Row = dict[str, Any]
COLUMNS = (
    "epoch",
    "seconds",
    "lr",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "test_top5",
    "images_per_second",
)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of a table of these rows, in order: a method's own follow `train_accuracy`."""
    found = dict.fromkeys(name for row in rows for name in row)
    after = COLUMNS.index("train_accuracy") + 1
    return [name for name in (*COLUMNS[:after], *extra_columns(found), *COLUMNS[after:]) if name in found]


def extra_columns(columns: Iterable[str]) -> list[str]:
    """Those of a log's columns that a method reported besides the usual ones."""
    return [name for name in columns if name not in COLUMNS]


@dataclass(frozen=True)
class LogFile:
    """Where the log is written and, in a file beside it, what the training is made from."""

    path: Path
    record: Provenance

    def write(self, rows: Sequence[Row]) -> None:
        """Replace the file by a table of these rows, tab-separated, floats in full precision."""
        columns = columns_of(rows)
        lines = ["\t".join(columns), *("\t".join(_cell(row.get(name)) for name in columns) for row in rows)]
        write_text_table(self.path, "\n".join(lines) + "\n", self.record)


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
