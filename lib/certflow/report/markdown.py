"""A table as Markdown (pipe tables, as GitHub and pandoc read them)."""

from collections.abc import Sequence

from certflow.report.layout import Block, Cell, Row

SPECIAL = "\\`*_{}[]<>|#$~^&"
"""Signs that mean something in Markdown or, like the dollar around formulas, in one of its common dialects."""


def escape(text: str) -> str:
    """Plain text that Markdown prints as it is; line breaks, which would end a row, become spaces."""
    return "".join(f"\\{sign}" if sign in SPECIAL else sign for sign in " ".join(text.splitlines()))


def markdown(blocks: Sequence[Block], notes: Sequence[str], title: str) -> str:
    """A heading, the blocks and the notes as a list."""
    parts = [f"# {escape(title)}", *(pipe_table(block) for block in blocks)]
    parts.append("\n".join(f"- {escape(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def pipe_table(block: Block) -> str:
    """One block; the noise level is the first column, since pipe tables have no spanning rows."""
    heading = [escape(name) for name in block.columns]
    if block.over:
        heading[block.over_from] = f"{escape(block.over)}: {heading[block.over_from]}"
    rule = ["---"] * (1 + block.names) + ["--:"] * (len(block.columns) - block.names)
    lines = [_join([block.grouped_by, *heading]), _join(rule)]
    for group in block.groups:
        for i, row in enumerate(group.rows):
            lines.append(_join([escape(group.title) if i == 0 else "", *(_value(cell, row) for cell in row.cells)]))
    return "\n".join(lines)


def _value(cell: Cell, row: Row) -> str:
    text = escape(cell.text)
    if cell.best:
        text = f"**{text}**"
    elif text and row.role in ("published", "difference"):
        text = f"*{text}*"
    return f"{text}<br><sub>{escape(cell.small)}</sub>" if cell.small else text


def _join(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
