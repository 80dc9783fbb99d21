"""A table as LaTeX that needs no package but booktabs."""

from collections.abc import Sequence

from certflow.report.layout import Block, Cell, Group, Row
from certflow.report.signs import DEFINITION, OTHER, escape


def latex(blocks: Sequence[Block], notes: Sequence[str], title: str, label: str) -> str:
    """A `table` environment with one tabular per block and the notes below; `\\input` it after `\\usepackage{booktabs}`."""
    parts = [
        r"\begin{table}[tbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{2.4pt}",
        rf"\caption{{{escape(title)}}}",
        rf"\label{{tab:{_label(label)}}}",
        "\n\\par\\medskip\n".join(tabular(block) for block in blocks),
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
        " \\\\\n".join(escape(note) for note in notes),
        r"\end{minipage}",
        r"\end{table}",
    ]
    body = "\n".join(parts) + "\n"
    head = "% Made by certflow. Needs \\usepackage{booktabs}.\n"
    return head + (f"{DEFINITION}\n" if OTHER in body else "") + body


def tabular(block: Block) -> str:
    """One block as a `tabular` environment."""
    width = len(block.columns)
    spec = "l" * block.names + "c" * (width - block.names)
    lines = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule"]
    if block.over:
        first, count = block.over_from, width - block.over_from
        lines.append(_join([*[""] * first, rf"\multicolumn{{{count}}}{{c}}{{{escape(block.over)}}}"]))
        lines.append(rf"\cmidrule(lr){{{first + 1}-{width}}}")
    lines.append(_join([escape(name) for name in block.columns]))
    for group in block.groups:
        lines += [r"\midrule", *_group(group, width)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _group(group: Group, width: int) -> list[str]:
    lines = [_join([rf"\multicolumn{{{width}}}{{l}}{{{escape(group.title)}}}"])]
    for i, row in enumerate(group.rows):
        if i > 0 and row.role in ("ours", "external"):
            lines.append(r"\addlinespace[2pt]")
        lines += _row(row)
    return lines


def _row(row: Row) -> list[str]:
    """A line of values and, where there are intervals, a line of these below it in smaller type."""
    quiet = row.role in ("published", "difference")
    lines = [_join([_value(cell, quiet) for cell in row.cells])]
    if any(cell.small for cell in row.cells):
        lines.append(_join([rf"{{\scriptsize {escape(cell.small)}}}" if cell.small else "" for cell in row.cells]))
    return lines


def _value(cell: Cell, quiet: bool) -> str:
    value, plus_minus, spread = cell.text.partition(" ± ")
    text = escape(value)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if plus_minus:
        text += rf"\,{{\scriptsize$\pm$\,{escape(spread)}}}"
    return rf"\textit{{{text}}}" if quiet and text else text


def _join(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _label(name: str) -> str:
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-:.") else "-" for sign in name)
