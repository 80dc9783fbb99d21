"""Which rows of a summary a sentence is about."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from certflow.report.names import full_name, level

if TYPE_CHECKING:
    import pandas as pd

Name = Callable[[Any], str]
"""Row of a summary, as `itertuples` gives it → what a sentence calls it."""


def method(row: Any) -> str:
    """A row by its method alone."""
    return row.method


def at_level(row: Any) -> str:
    """A row by its method and noise level."""
    return f"{row.method} at {level(row.sigma)}"


def names_of(rows: "pd.DataFrame", name: Name) -> list[str]:
    """The names of rows, each once, in their order."""
    return list(dict.fromkeys(name(row) for row in rows.itertuples()))


def whose(part: "pd.DataFrame", summary: "pd.DataFrame", name: Name = method) -> str:
    """Which rows of a summary `part` is: empty for all, else their names, or `all but` the others' where that is shorter.

    Where `name` does not tell the rows from the others, their full names are given.
    """
    others = summary[~summary.index.isin(part.index)]
    if not len(others):
        return ""
    chosen, rest = (names_of(rows, name) for rows in (part, others))
    separator = ", "
    if set(chosen) & set(rest):
        chosen, rest = (names_of(rows, full_name) for rows in (part, others))
        separator = "; "
    listed, all_but = separator.join(chosen), f"all but {separator.join(rest)}"
    return all_but if len(all_but) < len(listed) else listed


def laws_of(part: "pd.DataFrame", summary: "pd.DataFrame") -> str:
    """`whose`, by kinds of noise where these tell the rows from the others."""
    others = set(summary.loc[~summary.index.isin(part.index), "noise_kind"])
    alike = "" in others or others & set(part["noise_kind"])
    return whose(part, summary, method if alike else lambda row: row.noise_kind)
