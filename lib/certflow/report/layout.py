"""What a printed table says, before it is LaTeX, Markdown or HTML: blocks of groups of rows of cells."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from certflow.report.columns import Column, Metric, Statistic, UnderAttack, attacks_among, certified_at, radii_among
from certflow.report.names import NORMS, level, noise_names
from certflow.report.numbers import DASH, at_least, number, percent, signed, significant, whole

if TYPE_CHECKING:
    import pandas as pd

ACR = Metric("acr")
MOST_RADII = 7
"""Most radii side by side; more are split into blocks of equal width."""

Role = Literal["ours", "external", "published", "difference"]


@dataclass(frozen=True)
class Cell:
    """`text`, with `small` (an interval) below it; `best` of its column among the rows of its group, or printed like it."""

    text: str
    small: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    role: Role
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Rows of one noise level."""

    title: str
    sigma: float
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Block:
    """One tabular. The first `names` columns are text; `over` is a heading above the columns from `over_from` on."""

    columns: tuple[str, ...]
    names: int
    groups: tuple[Group, ...]
    over: str = ""
    over_from: int = 0
    grouped_by: str = "noise"
    """What the groups are, as the heading of a column of their titles."""


@dataclass(frozen=True)
class Field:
    """A numeric column: its heading, what it shows, its format, and whether the largest is best."""

    heading: str
    metric: Metric | UnderAttack
    show: Callable[[float], str]
    compared: bool = False
    statistic: bool = True
    """A rate or a mean whose error and whose difference to the published number are printed; costs are not."""


def blocks(summary: "pd.DataFrame") -> list[Block]:
    """The table: certified accuracies with ACR first, then what was measured and what it cost."""
    result, norm = [], NORMS[summary["norm"].iloc[0]]
    for i, chunk in enumerate(chunks(radii_among(summary.columns))):
        fields = [Field("ACR", ACR, number, compared=True)] if i == 0 else []
        fields += radius_fields(chunk)
        block = _block(summary, fields)
        result.append(
            replace(block, over=f"certified accuracy (%) at {norm} radius", over_from=len(block.columns) - len(chunk))
        )
    return [*result, *_attacks(summary), _details(summary)]


def _attacks(summary: "pd.DataFrame") -> list[Block]:
    """One tabular for each attack; lines made elsewhere were not attacked."""
    result = []
    for (smoothed, attack, norm), columns in attacks_among(summary.columns).items():
        for chunk in chunks(list(columns)):
            fields = [Field(f"{eps:g}", columns[eps].of, percent, statistic=False) for eps in chunk]
            block = _block(summary, fields)
            who = "accuracy (%)" if smoothed else "accuracy (%) of the network without noise"
            over = f"{who} under attack {attack} within {NORMS[norm]} radius"
            result.append(replace(block, over=over, over_from=len(block.columns) - len(chunk)))
    return result


def radius_fields(radii: Sequence[float]) -> list[Field]:
    """The columns of certified accuracies at some radii."""
    places = ".2f" if _two_places(radii) else "g"
    return [Field(format(radius, places), certified_at(radius), percent, True) for radius in radii]


def _details(summary: "pd.DataFrame") -> Block:
    fields = (
        [] if 0.0 in radii_among(summary.columns) else [Field("clean (%)", Metric("clean_accuracy"), percent, True)]
    )
    fields += [
        Field("abstains (%)", Metric("abstention_rate"), percent),
        Field("draws/image", Metric("samples_per_image"), whole, statistic=False),
        Field("s/image", Metric("seconds_per_image"), significant, statistic=False),
    ]
    block = _block(summary, fields)
    facts = ("images", "seeds", "α", "N")
    at = iter([_facts(row) for _, row in _ordered(summary)])
    groups = []
    for group in block.groups:
        rows = []
        for row in group.rows:
            extra = next(at) if row.role in ("ours", "external") else (Cell(""),) * len(facts)
            rows.append(replace(row, cells=row.cells + extra))
        groups.append(replace(group, rows=tuple(rows)))
    return replace(block, columns=block.columns + facts, groups=tuple(groups))


def _facts(row: "pd.Series") -> tuple[Cell, ...]:
    alpha = DASH if np.isnan(row["alpha"]) else f"{row['alpha']:g}"
    n = DASH if np.isnan(row["n"]) else ("≤ " if row["samples_vary"] else "") + whole(row["n"])
    return Cell(whole(row["n_images"])), Cell(str(row["n_seeds"])), Cell(alpha), Cell(n)


def _block(summary: "pd.DataFrame", fields: Sequence[Field]) -> Block:
    laws = noise_names(zip(summary["noise"], summary["sigma"], summary["noise_kind"], strict=True))
    summary = summary.assign(law=summary["noise"].map(laws))
    names, groups = name_columns(summary, "law"), []
    for sigma in dict.fromkeys(summary["sigma"]):
        part = summary[summary["sigma"] == sigma]
        best = {field.metric: best_rows(part, field) for field in fields}
        rows: list[Row] = []
        for index, row in part.iterrows():
            rows += line_rows(row, fields, names, {metric for metric, winners in best.items() if index in winners})
        groups.append(Group(level(sigma), float(sigma), tuple(rows)))
    block = Block((*names.values(), *(field.heading for field in fields)), len(names), tuple(groups))
    return replace(block, grouped_by="level") if "law" in names else block


def name_columns(summary: "pd.DataFrame", law: str) -> dict[str, str]:
    """Column of a summary → heading, of those that tell its rows apart. law: the column that names the noise."""
    found = {"method": "method", law: "noise", "certificate": "certificate"}
    several = {name for name in found if summary.loc[summary[name] != "", name].nunique() > 1}
    return {name: heading for name, heading in found.items() if name == "method" or name in several}


def line_rows(
    row: "pd.Series", fields: Sequence[Field], names: Collection[str], best: set[Metric | UnderAttack]
) -> list[Row]:
    """The line itself, and below it the published one and the difference, where these columns have any."""
    labels = tuple(Cell(_label(row, name)) for name in names)
    own = tuple(replace(_measured(row, field), best=field.metric in best) for field in fields)
    rows = [Row("external" if row["external"] else "ours", labels + own)]
    blank = (Cell(""),) * (len(names) - 1)
    if row["published_source"] and not all(np.isnan(_get(row, field, Statistic.PUBLISHED)) for field in fields):
        theirs = tuple(_plain(_get(row, field, Statistic.PUBLISHED), field.show) for field in fields)
        rows.append(Row("published", (Cell(_published_name(row)), *blank, *theirs)))
        rows += _gaps("ours − published", blank, tuple(_gap(row, field, Statistic.DIFFERENCE) for field in fields))
    if row.get("paired_with", ""):
        cells = tuple(_with_error(row, field) for field in fields)
        rows += _gaps(f"ours − {row['paired_with']}, by image", blank, cells)
    return rows


def _published_name(row: "pd.Series") -> str:
    """That a published row is about our images, or about how many it is."""
    same = row.get("published_same_images", False)
    return "published, same images" if same else f"published, n = {whole(row['published_n_images'])}"


def _gaps(name: str, blank: tuple[Cell, ...], cells: tuple[Cell, ...]) -> list[Row]:
    """A row of differences, where there is any in these columns."""
    return [Row("difference", (Cell(name), *blank, *cells))] if any(c.text not in ("", DASH) for c in cells) else []


def _gap(row: "pd.Series", field: Field, statistic: Statistic) -> Cell:
    """A difference with its sign; nothing of costs."""
    return _plain(_get(row, field, statistic), lambda v: signed(field.show(v))) if field.statistic else Cell("")


def _with_error(row: "pd.Series", field: Field) -> Cell:
    """A paired difference, and its standard error below it where it is not 0."""
    error = _get(row, field, Statistic.PAIRED_ERROR)
    return replace(_gap(row, field, Statistic.PAIRED), small=f"± {field.show(error)}" if error > 0 else "")


def _label(row: "pd.Series", name: str) -> str:
    """A name of the line; that of the method says where the images are not those of our lines."""
    others = row.get("other_images", "") if name == "method" else ""
    return (str(row[name]) or DASH) + (f" ({others})" if others else "")


def _measured(row: "pd.Series", field: Field) -> Cell:
    value = row[Column(field.metric)]
    if np.isnan(value) or not field.statistic:
        return _plain(value, field.show)
    ends = (Statistic.SD, Statistic.LOW, Statistic.HIGH)
    spread, low, high = (row[Column(field.metric, statistic)] for statistic in ends)
    show = at_least if _is_bound(row, field) else field.show
    text = show(value) + ("" if np.isnan(spread) else f" ± {field.show(spread)}")
    return Cell(text, f"{field.show(low)}–{field.show(high)}" if high > low else "")


def _is_bound(row: "pd.Series", field: Field) -> bool:
    """Whether it is "at least": the ACR of preset radii, where a radius between two of them counts as the lower one."""
    return field.metric == ACR and bool(row["preset_radii"])


def _plain(value: float, show: Callable[[float], str]) -> Cell:
    return Cell(DASH if np.isnan(value) else show(value))


def best_rows(part: "pd.DataFrame", field: Field) -> set[Any]:
    """Indices of the rows that print the largest value; none when there is nothing to compare, or all print the same.

    Rows on other images than ours are not compared: the largest value is that of the others. ACRs are compared only if
    all rows have the same preset radii, or none has any.
    """
    if "other_images" in part:
        part = part[part["other_images"] == ""]
    if field.metric == ACR and part["preset_radii"].nunique() > 1:
        return set()
    values = part[Column(field.metric)].dropna()
    if not field.compared or len(values) < 2 or values.max() <= 0:
        return set()
    shown = values.map(field.show)
    winners = set(shown.index[shown == field.show(values.max())])
    return winners if len(winners) < len(values) else set()


def _ordered(summary: "pd.DataFrame") -> list[tuple[Any, "pd.Series"]]:
    """Rows as `_block` shows them: by noise level, then as given."""
    return [item for sigma in dict.fromkeys(summary["sigma"]) for item in summary[summary["sigma"] == sigma].iterrows()]


def _get(row: "pd.Series", field: Field, statistic: Statistic) -> float:
    return float(row.get(Column(field.metric, statistic), np.nan))


def _two_places(radii: Sequence[float]) -> bool:
    return all(round(radius, 2) == radius for radius in radii)


def chunks(radii: Sequence[float]) -> list[list[float]]:
    """Radii that stand side by side in one tabular."""
    count = -(-len(radii) // MOST_RADII)
    return [[float(r) for r in part] for part in np.array_split(np.asarray(radii, float), count)]
