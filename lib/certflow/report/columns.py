"""The columns of a summary: each name says what its column holds, so that nothing has to be read back from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCALARS = ("acr", "clean_accuracy", "abstention_rate", "samples_per_image", "seconds_per_image")
"""Metrics that need no radius, in their order."""
CERTIFIED = "certified_accuracy"


@dataclass(frozen=True)
class Metric:
    """A number of a line: one of `SCALARS`, or the certified accuracy at a radius."""

    name: str
    radius: float | None = None
    """In the norm of the table, [0,1]-pixel units."""

    def __str__(self) -> str:
        return self.name if self.radius is None else f"{self.name}@{self.radius!r}"


@dataclass(frozen=True)
class UnderAttack:
    """The share of images for which an attack showed no wrong class within a radius."""

    attack: str
    """Name of the configuration's entry."""
    norm: str
    smoothed: bool
    """Whether the smoothed classifier was attacked, or the network without noise."""
    radius: float

    def __str__(self) -> str:
        return f"{'' if self.smoothed else 'plain_'}accuracy_under@{self.attack}@{self.norm}@{self.radius!r}"


class Statistic(Enum):
    """What a column says about a metric; the value is how its name is made."""

    MEAN = "{}"
    LOW = "{}_low"
    HIGH = "{}_high"
    SD = "{}_sd"
    BOUND = "{}_bound"
    PUBLISHED = "published_{}"
    DIFFERENCE = "difference_{}"
    PAIRED = "paired_{}"
    PAIRED_ERROR = "paired_{}_se"
    WINNER_SIGMA = "{}_winner_sigma"
    WINNER_CLEAN = "{}_winner_clean_accuracy"


class Column(str):
    """The name of a column, as it stands in the file, together with what the column holds."""

    of: Metric | UnderAttack
    statistic: Statistic

    def __new__(cls, of: Metric | UnderAttack, statistic: Statistic = Statistic.MEAN) -> "Column":
        column = super().__new__(cls, statistic.value.format(of))
        column.of, column.statistic = of, statistic
        return column


def certified_at(radius: float) -> Metric:
    """The certified accuracy at a radius."""
    return Metric(CERTIFIED, float(radius))


def metrics(radii: Sequence[float]) -> list[Metric]:
    """All metrics of a table with these radii: `SCALARS`, then the certified accuracy at each."""
    return [*map(Metric, SCALARS), *map(certified_at, radii)]


def columns_of(metrics: Iterable[Metric]) -> list[Column]:
    """Every column about one of these metrics that a table can have."""
    return [Column(metric, statistic) for metric in metrics for statistic in Statistic]


def radii_among(columns: Iterable[str], name: str = CERTIFIED) -> list[float]:
    """The radii of the accuracies of that name among columns, in their order."""
    return list(_shares(columns, name))


def shares_among(columns: Iterable[str], name: str) -> list[Column]:
    """The columns of the accuracies of that name at their radii, in their order."""
    return list(_shares(columns, name).values())


def _shares(columns: Iterable[str], name: str) -> dict[float, Column]:
    """Radius → column, of the accuracies of that name."""
    found: dict[float, Column] = {}
    for column in columns:
        if isinstance(column, Column) and column.statistic is Statistic.MEAN and isinstance(of := column.of, Metric):
            if of.name == name and of.radius is not None:
                found[of.radius] = column
    return found


def attacks_among(columns: Iterable[str]) -> dict[tuple[bool, str, str], dict[float, Column]]:
    """(smoothed, attack, norm) → radius → column, of the accuracies under attack among columns, in their order."""
    found: dict[tuple[bool, str, str], dict[float, Column]] = {}
    for column in columns:
        if isinstance(column, Column) and isinstance(of := column.of, UnderAttack):
            found.setdefault((of.smoothed, of.attack, of.norm), {})[of.radius] = column
    return found


def frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """A DataFrame of rows by column, in the order in which columns first occur; typed columns stay what they are."""
    import pandas as pd

    return pd.DataFrame(rows, columns=pd.Index(list(dict.fromkeys(chain.from_iterable(rows))), dtype=object))


def typed(table: "pd.DataFrame", metrics: Iterable[Metric]) -> "pd.DataFrame":
    """A table that was read from a file, with the columns about these metrics as what they are."""
    import pandas as pd

    known = {str(column): column for column in columns_of(metrics)}
    return table.set_axis(pd.Index([known.get(name, name) for name in table.columns], dtype=object), axis=1)
