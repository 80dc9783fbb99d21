"""Published numbers that are the best over several noise levels: said under a table, never beside one of its rows."""

from collections.abc import Collection
from functools import cache
from itertools import groupby
from pathlib import Path

from certflow.errors import DataError
from certflow.report.names import NORMS
from certflow.report.published import check_law, read_rows, restored

FOLDER = Path(__file__).resolve().parent / "data" / "envelopes"
COLUMNS = (
    "dataset", "arch", "method", "variant", "noise", "norm", "sigmas", "n", "radius", "certified_accuracy",
    "standard_accuracy",
)  # fmt: skip
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
    for number, row in enumerate(rows, start=2):
        check_law(path, number, row)
    with restored(path):
        for row in rows:
            _ = _draws(row["n"]), _cell(row)
    return rows


def envelopes(dataset: str, arch: str) -> tuple[Row, ...]:
    """Those of a dataset and an architecture as the sources call them."""
    return tuple(row for row in _rows() if (row["dataset"], row["arch"]) == (dataset, arch))


def known() -> list[str]:
    """`dataset arch` of everything there is."""
    return sorted({f"{row['dataset']} {row['arch']}" for row in _rows()})


def sentence(dataset: str, arch: str, noises: Collection[str], norm: str) -> str:
    """One sentence per method: certified accuracy at each radius, and in brackets the winning model's standard accuracy.

    Of radii in `norm` under one of `noises` (kinds) alone; empty where none of these is known.
    """
    rows = [row for row in envelopes(dataset, arch) if row["noise"] in noises and row["norm"] == norm]
    sentences = []
    for key, group in groupby(
        rows, lambda row: tuple(row[name] for name in ("method", "variant", "noise", "n", "sigmas"))
    ):
        method, variant, noise, n, sigmas = key
        cells = "; ".join(_cell(row) for row in group)
        sentences.append(f"{method}, {variant} ({noise}, σ among {sigmas.replace(' ', ', ')}; {_draws(n)}): {cells}.")
    if not sentences:
        return ""
    return (
        f"Published envelopes on {dataset}, {arch}, {NORMS[norm]} radii: at each the best over noise levels and settings, "
        f"standard accuracy of that model in brackets, all in percent. {' '.join(sentences)}"
    )


def _draws(n: str) -> str:
    """How many draws the numbers rest on; an empty cell: no draws, as every outcome of the noise was counted."""
    return f"N = {int(n):,}" if n else "every outcome counted"


def _cell(row: Row) -> str:
    standard = f" ({100 * float(row['standard_accuracy']):g})" if row["standard_accuracy"] else ""
    return f"{100 * float(row['certified_accuracy']):g}{standard} at {float(row['radius']):g}"
