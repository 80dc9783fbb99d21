"""The training log: one row per epoch, readable while the training goes on.

Columns: `epoch` (from 0), `seconds` (training and evaluation), `lr` (the rate of the epoch's last step), `train_loss`,
`train_accuracy` (empty where the method reports none), `test_loss`, `test_accuracy` and, with more than five classes,
`test_top5` (base classifier on one noisy draw per test image), `images_per_second` (distinct training images).
"""

from pathlib import Path
from typing import Any

from lib.artefact import atomic

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


def write_rows(path: Path, rows: list[Row]) -> None:
    """Replace the file by a table of these rows, tab-separated, floats in full precision."""
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    lines = ["\t".join(columns), *("\t".join(_cell(row.get(name)) for name in columns) for row in rows)]
    with atomic(path) as part:
        part.write_text("\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
