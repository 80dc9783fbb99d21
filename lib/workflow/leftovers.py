"""What jobs wrote after their Snakemake had been killed: kept where a reader checks it, made again where nobody does."""

import sys
from base64 import urlsafe_b64decode
from pathlib import Path

LAST = ("tables", "figures", "reports", "corruptions")
"""Folders of `results/` with what is only looked at: no job reads it and finds that it is of another configuration."""


def forget_unchecked(home: Path = Path()) -> list[Path]:
    """Delete last results under `home` whose job Snakemake never saw end, and say so; nothing while one is at work there.

    Profiles set `ignore-incomplete`, so that models and counts are kept. They carry what they were made from, a table does
    not: Snakemake, without a record of its settings, would take a table of other settings for the one asked for.
    """
    state = home / ".snakemake"
    if any((state / "locks").glob("*")):
        return []
    marked = [
        _marked(path.relative_to(state / "incomplete")) for path in (state / "incomplete").rglob("*") if path.is_file()
    ]
    folders = [Path("results", name) for name in LAST]
    last = {path for path in marked if {*path.parents} & {*folders} and ".." not in path.parts}
    found = sorted(home / path for path in last | {_page(path) for path in last} if (home / path).exists())
    for path in found:
        path.unlink()
        print(
            f"{path}: made by a job that was not seen to end, or from its output; deleted, to be made again",
            file=sys.stderr,
        )
    return found


def _page(path: Path) -> Path:
    """The page of the same experiment: while it is there, Snakemake would not miss the table that it was made from."""
    name = path.stem if len(path.parts) == 3 else path.parts[2]
    return Path(f"results/reports/{name}.html")


def _marked(marker: Path) -> Path:
    """The output that Snakemake's marker is about: its name is the output's in base 64, cut into folders where it is long."""
    try:
        return Path(urlsafe_b64decode("".join(part.removeprefix("@") for part in marker.parts)).decode())
    except ValueError:  # another version's marker
        return Path()
