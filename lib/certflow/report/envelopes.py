"""Published numbers that are the best over several noise levels: said under a table, never beside one of its rows."""

from functools import cache
from itertools import groupby
from pathlib import Path

from certflow.errors import DataError
from certflow.report.published import read_rows, restored

FOLDER = Path(__file__).resolve().parent / "data" / "envelopes"
COLUMNS = ("dataset", "arch", "method", "variant", "sigmas", "n", "radius", "certified_accuracy", "standard_accuracy")
Row = dict[str, str]


@cache
def _rows() -> tuple[Row, ...]:
    """All published envelopes there are, in the order of the files."""
    paths = sorted(FOLDER.glob("*.csv"))
    if not paths:
        raise DataError(f"{FOLDER}: the published envelopes are missing; restore this folder of the project")
    return tuple(row for path in paths for row in _checked(path))


def _checked(path: Path) -> list[Row]:
    rows = read_rows(path, COLUMNS)
    with restored(path):
        for row in rows:
            _ = int(row["n"]), _cell(row)
    return rows


def envelopes(dataset: str, arch: str) -> tuple[Row, ...]:
    """Those of a dataset and an architecture as the sources call them."""
    return tuple(row for row in _rows() if (row["dataset"], row["arch"]) == (dataset, arch))


def known() -> list[str]:
    """`dataset arch` of everything there is."""
    return sorted({f"{row['dataset']} {row['arch']}" for row in _rows()})


def sentence(dataset: str, arch: str) -> str:
    """One sentence per method: certified accuracy at each radius, and in brackets the winning model's standard accuracy."""
    told = []
    for key, group in groupby(
        envelopes(dataset, arch), lambda row: (row["method"], row["variant"], row["n"], row["sigmas"])
    ):
        method, variant, n, sigmas = key
        cells = "; ".join(_cell(row) for row in group)
        told.append(f"{method}, {variant} (σ among {sigmas.replace(' ', ', ')}; N = {int(n):,}): {cells}.")
    return (
        f"Published envelopes on {dataset}, {arch}: at each radius the best over noise levels and settings, standard accuracy "
        f"of that model in brackets, all in percent. {' '.join(told)}"
    )


def _cell(row: Row) -> str:
    standard = f" ({100 * float(row['standard_accuracy']):g})" if row["standard_accuracy"] else ""
    return f"{100 * float(row['certified_accuracy']):g}{standard} at {float(row['radius']):g}"
