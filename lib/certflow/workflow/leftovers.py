"""What jobs wrote after their Snakemake had been killed: kept where a reader checks it, made again where nobody does."""

from base64 import urlsafe_b64decode
from pathlib import Path

from certflow.files.paths import MADE_HERE

LAST = ("tables", "figures", "reports", "corruptions", "estimates", "diagnoses")
"""Folders of `results/` with what is only looked at: no job reads it and finds that it is of another configuration."""


def unseen(home: Path = Path()) -> list[str]:
    """Last results under `home`, sorted, whose job Snakemake never saw end: they have to be made again. None while another
    Snakemake is at work there. Nothing is changed.

    Profiles set `ignore-incomplete`, so that models and counts are kept. They carry what they were made from, a table does
    not: Snakemake, without a record of its settings, would take a table of other settings for the one asked for.
    """
    state = home / ".snakemake"
    if any((state / "locks").glob("*")):
        return []
    marked = [
        _marked(path.relative_to(state / "incomplete")) for path in (state / "incomplete").rglob("*") if path.is_file()
    ]
    return sorted(str(path) for path in marked if _last(path) and (home / path).exists())


def _last(path: Path) -> bool:
    """Whether a path is that of a last result, below whatever folder a workflow puts those of its modules into.

    One that leads out of a folder again may be that of any file.
    """
    steps = zip(path.parts[:-1], path.parts[1:-1], strict=False)
    return ".." not in path.parts and any(folder == MADE_HERE and name in LAST for folder, name in steps)


def _marked(marker: Path) -> Path:
    """The output that Snakemake's marker is about: its name is the output's in base 64, cut into folders where it is long."""
    try:
        return Path(urlsafe_b64decode("".join(part.removeprefix("@") for part in marker.parts)).decode())
    except ValueError:  # another version's marker
        return Path()
