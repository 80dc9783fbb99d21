"""Writes an experiment's table: LaTeX for the paper, Markdown for people, tab-separated text for programs."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.files.atomic import atomic
from certflow.report.columns import frame
from certflow.report.latex import latex
from certflow.report.layout import Block, blocks
from certflow.report.markdown import markdown
from certflow.report.notes import notes
from certflow.report.own_envelope import NOTE, envelope_blocks

if TYPE_CHECKING:
    import pandas as pd


def write_tables(
    summary: "pd.DataFrame",
    paths: Iterable[str | Path],
    *,
    title: str = "",
    remark: str = "",
    envelopes: "pd.DataFrame | None" = None,
) -> None:
    """Write each of `paths` in the format of its ending: tex, md or tsv.

    summary: as `certflow.report.summary.summarise` makes it. title: the caption; default the file's name. remark: a
    sentence put first among the notes. envelopes: as `certflow.report.own_envelope.envelopes_of` makes them, shown
    last; rows of the tsv too, whose column `row` says which they are. The tsv holds the whole summary in full
    precision, empty where a number is unknown; the other two print rates in percent with one decimal and radii with
    three, rounded to nearest (they are estimates), the best of each column in bold. Another ending is a ValueError,
    before anything is written.
    """
    shown, footnotes, whole = blocks(summary), notes(summary, remark), summary
    if envelopes is not None:
        shown, footnotes = [*shown, *envelope_blocks(envelopes)], [*footnotes, NOTE]
        whole = frame([*_records(summary), *_records(envelopes)])
    write_each(paths, lambda path: _write_text_table(path, whole), shown, footnotes, title)


def write_each(
    paths: Iterable[str | Path],
    write_tsv: Callable[[Path], None],
    shown: Sequence[Block],
    footnotes: Sequence[str],
    title: str,
    ending: str = "",
) -> None:
    """Write one table to each of `paths`: as tsv by `write_tsv`, as tex or md the blocks and notes that people read.

    title: the caption; empty: the file's name. ending: of the label in LaTeX, behind the file's name. ValueError, before
    anything is written, for other endings of files.
    """
    for path in _checked(paths):
        caption = title or f"Certified accuracy: {path.stem}"
        if path.suffix == ".tsv":
            write_tsv(path)
        elif path.suffix == ".tex":
            _write_text(path, latex(shown, footnotes, caption, f"{path.stem}{ending}"))
        else:
            _write_text(path, markdown(shown, footnotes, caption))


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Its rows by column."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _checked(paths: Iterable[str | Path]) -> list[Path]:
    """The paths, or a ValueError where one has an ending that tables are not written in."""
    paths = [Path(path) for path in paths]
    for path in paths:
        if path.suffix not in (".tex", ".md", ".tsv"):
            raise ValueError(f"{path}: tables are written as tex, md or tsv")
    return paths


def _write_text_table(path: Path, whole: "pd.DataFrame") -> None:
    with atomic(path) as part:
        whole.to_csv(part, sep="\t", index=False, lineterminator="\n")


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
