"""Our own envelopes: at each radius the best over noise levels, as many papers print it. The choice makes it optimistic."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.report.columns import Column, Metric, Statistic, UnderAttack, certified_at, frame, radii_among
from certflow.report.layout import Block, Cell, Group, Row, best_rows, chunks, name_columns, radius_fields
from certflow.report.names import NORMS, level
from certflow.report.numbers import percent

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["method", "noise_kind", "certificate"]
"""What an envelope is of; noise levels are what it is over."""
SHARED = ("norm", "external", "images", "n_images", "seeds", "n_seeds", "alpha")
"""Facts of its lines that an envelope's row repeats."""
NOTE = (
    "Best over noise levels: at each radius the certified accuracy of the level that has the largest one on these very images "
    "(of equal ones the smallest σ); in small print its σ and its clean accuracy (%). The level was chosen on the images that "
    "the number is reported on, so it is optimistic, and no single model has all numbers of such a row."
)


def envelopes_of(summary: "pd.DataFrame") -> "pd.DataFrame":
    """A row for every method, kind of noise and certificate of a summary (`summarise`), without lines made elsewhere.

    Columns: `KEYS`, row (`envelope`), levels (the sigmas chosen from, joined by blanks) and `SHARED`; for each radius the best
    certified accuracy, and sigma and clean accuracy of the line that has it. Ties go to the smallest sigma. NaN where one of
    the lines was not asked about a radius.
    """
    ours, radii = summary[~summary["external"].astype(bool)], radii_among(summary.columns)
    return frame([_row(part, radii) for _, part in ours.groupby(KEYS, sort=False)])


def _row(part: "pd.DataFrame", radii: Sequence[float]) -> dict[str, Any]:
    """The envelope of the lines of one method, kind of noise and certificate."""
    part = part.sort_values("sigma", kind="stable")
    first, levels = part.iloc[0], part["sigma"].drop_duplicates()
    row: dict[str, Any] = {"row": "envelope", **{name: first[name] for name in (*KEYS, *SHARED)}}
    row["levels"] = " ".join(f"{sigma:g}" for sigma in levels)
    for metric in map(certified_at, radii):
        winner = part.iloc[int(np.argmax(part[Column(metric)].to_numpy(float)))]  # NaN is the largest
        row[Column(metric)] = winner[Column(metric)]
        row[Column(metric, Statistic.WINNER_SIGMA)] = winner["sigma"]
        row[Column(metric, Statistic.WINNER_CLEAN)] = winner[Column(Metric("clean_accuracy"))]
    return row


def envelope_blocks(envelopes: "pd.DataFrame") -> list[Block]:
    """Tabulars of `envelopes_of`, a group for each set of levels that was chosen from."""
    norm, names = NORMS[envelopes["norm"].iloc[0]], name_columns(envelopes, "noise_kind")
    blocks = []
    for chunk in chunks(radii_among(envelopes.columns)):
        fields, groups = radius_fields(chunk), []
        for levels, part in envelopes.groupby("levels", sort=False):
            best = {field.metric: best_rows(part, field) for field in fields}
            rows = [
                _cells(row, names, chunk, {metric for metric, winners in best.items() if index in winners})
                for index, row in part.iterrows()
            ]
            groups.append(Group(f"σ = {str(levels).replace(' ', ', ')}", np.inf, tuple(rows)))
        columns = (*names.values(), *(field.heading for field in fields))
        over = f"best over noise levels (%) at {norm} radius (chosen on these images: optimistic)"
        blocks.append(Block(columns, len(names), tuple(groups), over, len(names), grouped_by="chosen from"))
    return blocks


def _cells(row: "pd.Series", names: dict[str, str], radii: Sequence[float], best: Set[Metric | UnderAttack]) -> Row:
    """The names of a row, then the best at each radius with its winner below."""
    cells = [Cell(str(row[name])) for name in names]
    for metric in map(certified_at, radii):
        sigma, clean = (row[Column(metric, of)] for of in (Statistic.WINNER_SIGMA, Statistic.WINNER_CLEAN))
        winner = f"{level(sigma)}, {percent(clean)}" if row[Column(metric)] > 0 else ""
        cells.append(Cell(percent(row[Column(metric)]), winner, metric in best))
    return Row("ours", tuple(cells))
