"""The two committed lists: changes that alter nothing (`equivalent.txt`), and changes that must be noticed (`unsound.txt`).

An entry is the file, a line `- ` with the lines as they are, a line `+ ` for each change of them, a line `= ` why. Several
lines of code are joined by ` ;; `. They are found by what they say, not by their number, so that edits elsewhere leave the
lists valid.
"""

from dataclasses import dataclass
from pathlib import Path

from edits import JOIN, changed_lines

MARKS = ("- ", "+ ", "= ")
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
    found, parts = [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line and not line.startswith("#"):
            if line[:2] not in MARKS or not parts:
                parts.append([])
            parts[-1].append((number, line.rstrip()))
    for part in parts:
        (number, file), *rest = part
        marks = [line[:2] for _, line in rest]
        if len(rest) < 3 or marks != ["- ", *["+ "] * (len(rest) - 2), "= "]:
            raise ValueError(
                f"{path}:{number}: an entry is its file, a line `- ` old, lines `+ ` new, a line `= ` reason"
            )
        old, *news, reason = (line[2:] for _, line in rest)
        found += [Entry(file, old, new, reason) for new in news]
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
