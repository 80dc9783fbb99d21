"""The two committed lists: changes that alter nothing (`equivalent.txt`), and changes that must be noticed (`unsound.txt`).

An entry is four lines: the file, `- ` the lines as they are, `+ ` the lines as changed, `= ` why. Several lines of code are
joined by ` ;; `. They are found by what they say, not by their number, so that edits elsewhere leave the lists valid.
"""

from dataclasses import dataclass
from pathlib import Path

from edits import JOIN, changed_lines

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Entry:
    """One listed change."""

    path: str
    old: str
    new: str
    reason: str

    @property
    def key(self) -> Key:
        return self.path, self.old, self.new


def entries(path: Path) -> list[Entry]:
    """The entries of a list; ValueError that names the line where one is not complete."""
    found = []
    lines = [(number, line.rstrip()) for number, line in enumerate(path.read_text().splitlines(), start=1)]
    rest = [(number, line) for number, line in lines if line and not line.startswith("#")]
    for place in range(0, len(rest), 4):
        part = rest[place : place + 4]
        marks = [line[:2] for _, line in part[1:]]
        if marks != ["- ", "+ ", "= "]:
            raise ValueError(f"{path}:{part[0][0]}: an entry is four lines: file, `- ` old, `+ ` new, `= ` reason")
        found.append(Entry(part[0][1], *(line[2:] for _, line in part[1:])))
    return found


def applied(entry: Entry, source: str) -> str:
    """The file with the change made; ValueError where the old lines are not there exactly once."""
    rows, old, new = source.splitlines(), entry.old.split(JOIN), entry.new.split(JOIN)
    starts = [
        row for row in range(len(rows) - len(old) + 1) if [line.strip() for line in rows[row : row + len(old)]] == old
    ]
    if len(starts) != 1:
        raise ValueError(f"{entry.path}: {len(starts)} places say {entry.old!r}; the list must name one")
    start = starts[0]
    indents = [row[: len(row) - len(row.lstrip())] for row in rows[start : start + len(old)]]
    indents += [indents[-1]] * (len(new) - len(old))
    changed = [indent + line for indent, line in zip(indents, new, strict=False)]
    return "\n".join([*rows[:start], *changed, *rows[start + len(old) :]]) + "\n"


def key_of(path: str, source: str, text: str) -> Key:
    """How the lists name the change of a file's `source` into `text`."""
    return path, *changed_lines(source, text)
