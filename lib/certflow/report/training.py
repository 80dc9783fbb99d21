"""Training logs: read for the report page, drawn as loss and accuracy over epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.errors import ArtefactError
from certflow.files.artefact import read_table
from certflow.training.log import LOG_FORMAT, extra_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 6.75, 2.3
"""Inches of a row of panels."""
FAINT: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.8}


@dataclass(frozen=True)
class TrainingLog:
    """The log of one model: a row per epoch, columns as in `certflow.training.log`."""

    method: str
    noise: str
    seed: str
    path: Path
    table: "pd.DataFrame"

    @property
    def seconds(self) -> float:
        """Time spent on training and evaluation."""
        return float(self.table["seconds"].sum())

    @property
    def extras(self) -> "dict[str, pd.Series]":
        """What the method reports besides, by name without its `train_`: one number per epoch, NaN where there is none."""
        return {name.removeprefix("train_"): self.table[name] for name in extra_columns(self.table.columns)}


def read_training_log(path: str | Path, spec: Mapping[str, Any]) -> TrainingLog:
    """The log at `.../<method>/<noise>/<seed>/training.tsv` of the model of `spec` (`Study.model_spec`).

    `ArtefactError` where it is damaged, was edited, or is of another model.
    """
    path = Path(path)
    table, _ = read_table(path, format=LOG_FORMAT, spec=spec)
    if table.empty:
        raise ArtefactError(f"{path}: has no rows; train the model again")
    words = [name for name in extra_columns(table.columns) if table[name].dtype.kind not in "iuf"]
    if words:
        raise ArtefactError(f"{path}: is not a valid training log ({words[0]} is not a number); train the model again")
    method, noise, seed = path.parts[-4:-1]
    return TrainingLog(method, noise, seed, path, table)


def draw_training(logs: Sequence[TrainingLog]) -> "Figure":
    """Loss and accuracy of the base classifiers under noise, by epoch.

    With several methods a row of panels per noise level and a colour per method, else one row and a colour per noise level;
    seeds share their colour. Solid lines: test images, one noisy draw each; faint lines: training images.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from certflow.report.style import coloured, legend, look

    several = len({log.method for log in logs}) > 1
    colours = coloured(log.method if several else log.noise for log in logs)
    rows = list(dict.fromkeys(log.noise for log in logs)) if several else [""]
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), 2, squeeze=False, sharex=True)
        for log in logs:
            row = rows.index(log.noise) if several else 0
            _draw_log(axes[row], log, colours[log.method if several else log.noise])
        for name, (left, right) in zip(rows, axes, strict=True):
            left.set(ylabel="cross-entropy (log scale)", yscale="log", title=name)  # one bad epoch hides no other one
            left.yaxis.set_major_formatter("{x:g}")
            right.set(ylabel="accuracy under noise (%)", title=name)
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        handles = [Line2D([], [], color=colour) for colour in colours.values()]
        handles += [Line2D([], [], color="#555555"), Line2D([], [], color="#555555", **FAINT)]
        legend(figure, handles, [*colours, "test", "training"])
    return figure


def _draw_log(panels: Sequence, log: TrainingLog, colour: str) -> None:
    table, (left, right) = log.table, panels
    epoch = table["epoch"] + 1
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(table) == 1 else {}
    left.plot(epoch, table["train_loss"], color=colour, **FAINT)
    left.plot(epoch, table["test_loss"], color=colour, **marker)
    if "train_accuracy" in table and table["train_accuracy"].notna().any():
        right.plot(epoch, 100 * table["train_accuracy"], color=colour, **FAINT)
    right.plot(epoch, 100 * table["test_accuracy"], color=colour, **marker)
