"""What pages and files say about the images of a batch."""

from dataclasses import dataclass
from typing import Any

from certflow.doors.web import charts
from certflow.doors.web.asked import AskedBatch
from certflow.doors.web.card import Card
from certflow.doors.web.job import Job
from certflow.doors.web.law import law_of
from certflow.report.numbers import DASH, down

COLUMNS = ("idx", "label", "predict", "radius", "correct", "n", "k", "p_lower", "reason", "seconds", "name")
"""Columns in their order; others follow."""


@dataclass(frozen=True)
class BatchShown:
    """A batch as a page shows it."""

    job: Job[AskedBatch]
    card: Card
    rows: list[dict[str, Any]]

    @property
    def total(self) -> int:
        """Images in all."""
        return len(self.job.asked.pictures)

    @property
    def labelled(self) -> bool:
        """Whether the true classes are known."""
        return all(picture.label is not None for picture in self.job.asked.pictures)

    @property
    def norm(self) -> str:
        """The norm of the radii."""
        return law_of(self.job.asked.draws, self.card).way.norm

    @property
    def curve(self) -> charts.Growth | None:
        """Certified accuracy against radius; where no labels are known, the share that is certified."""
        right = [row.get("correct", int(row["predict"] >= 0)) == 1 for row in self.rows]
        return charts.curve([row["radius"] for row in self.rows], right)

    @property
    def accuracy(self) -> float:
        """Share of finished images that are certified, as their class where that is known."""
        held = [row.get("correct", int(row["predict"] >= 0)) for row in self.rows]
        return sum(held) / len(held) if held else 0.0

    @property
    def mean(self) -> str:
        """The mean radius, wrong images counting as 0."""
        held = [row["radius"] * row.get("correct", 1) for row in self.rows]
        return down(sum(held) / len(held)) if held else DASH

    @property
    def done(self) -> float:
        """Percent of the images."""
        return 100 * len(self.rows) / self.total


def batch_shown(job: Job[AskedBatch], card: Card) -> BatchShown:
    """A batch as far as it is."""
    return BatchShown(job, card, job.table)


def tab_separated(rows: list[dict[str, Any]]) -> str:
    """Rows as the field's tables are written; full precision."""
    there = dict.fromkeys(name for row in rows for name in row)
    columns = [*(name for name in COLUMNS if name in there), *(name for name in there if name not in COLUMNS)]
    lines = ["\t".join(_cell(row.get(name)) for name in columns) for row in rows]
    return "\n".join(["\t".join(columns), *lines]) + "\n"


def _cell(value: Any) -> str:
    """A value; names that people gave cannot break a row, nor be taken for a formula."""
    text = "" if value is None else str(value).replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@") else text
