"""A table as LaTeX that needs no package but booktabs."""

import re
from collections.abc import Sequence

from lib.report.layout import Block, Cell, Group, Row

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "*": "{*}",
    '"': r"\textquotedbl{}",
    "σ": r"$\sigma$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "ℓ": r"$\ell$",
    "∞": r"$\infty$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "–": "--",
    "\u00a0": "~",
}
"""Character → LaTeX. Signs of ours and the characters that LaTeX reserves; all others are printed as they are."""


def escape(text: str) -> str:
    """Plain text as LaTeX prints it."""
    plain = "".join(SPECIAL.get(sign, sign) for sign in text)
    return re.sub(
        r"\bn0\b", "$n_0$", plain.replace(r"$\ell$2", r"$\ell_2$").replace(r"$\ell$$\infty$", r"$\ell_\infty$")
    )


def latex(blocks: Sequence[Block], notes: Sequence[str], title: str, label: str) -> str:
    """A `table` environment with one tabular per block and the notes below; `\\input` it after `\\usepackage{booktabs}`."""
    parts = [
        "% Made by certflow. Needs \\usepackage{booktabs}.",
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
    return "\n".join(parts) + "\n"


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
    return "".join(sign if sign.isalnum() or sign in "-:." else "-" for sign in name)
