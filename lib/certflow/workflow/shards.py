"""Into how many shards draws are cut: sets of shards that are there, or were begun, go before the number that is asked for.

Counts do not depend on the number of shards, so that a change of it (`--set-scatter`) does not make anything be drawn again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certflow.errors import CertflowError
from certflow.files.artefact import read_arrays_record, read_provenance
from certflow.kinds.spec import canonical_json
from certflow.models.header import read_header

NAME = re.compile(r"([1-9]\d*)-of-([1-9]\d*)\.npz(\..*)?")
"""A shard, or with a further ending the state of one that was not finished."""


@dataclass(frozen=True)
class Wanted:
    """What shards are to be: of this specification, and made from the model and the plan that are there now."""

    spec: Mapping[str, Any]
    model: Path
    plan: Path | None = None

    def fits(self, shard: Path) -> bool:
        """Whether a shard's record allows taking the shard as it is. A damaged one cannot be taken."""
        try:
            record = read_arrays_record(shard)
        except CertflowError:
            return False
        parents = {"model": _weights(self.model), "plan": None if self.plan is None else _digest(self.plan)}
        known = {name: value for name, value in parents.items() if value is not None}
        return (
            canonical_json(record.spec) == canonical_json(self.spec) and known.items() <= dict(record.parents).items()
        )


@dataclass
class Cut:
    """One way to cut the draws: which of its shards are finished, which begun, and when the last one was."""

    shards: int
    finished: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    newest: float = 0.0

    @property
    def complete(self) -> bool:
        return len(self.finished) == self.shards

    @property
    def share(self) -> tuple[float, float]:
        """Shares of its shards that are finished, and begun."""
        return len(self.finished) / self.shards, len(self.begun) / self.shards


def shard_names(folder: Path, asked: int, wanted: Wanted, *, insist: bool = False) -> list[str]:
    """Names (`2-of-4`) of the shards below `folder` to be merged: of a complete set, the newest; else of the set that is
    furthest; else of as many as are asked for.

    insist: somebody states the number `asked`; then a set of which no shard is finished is given up for it.
    """
    cuts = _cuts(folder, wanted).values()
    complete = [cut for cut in cuts if cut.complete]
    going = [cut for cut in cuts if cut.finished or not insist]
    number = asked
    if complete:
        number = max(complete, key=lambda cut: cut.newest).shards
    elif going:
        number = max(going, key=lambda cut: (cut.share, cut.shards == asked)).shards
    return numbered(number)


def numbered(shards: int) -> list[str]:
    """The names of all of `shards` shards, as Snakemake gives them."""
    return [f"{number}-of-{shards}" for number in range(1, shards + 1)]


def _cuts(folder: Path, wanted: Wanted) -> dict[int, Cut]:
    cuts: dict[int, Cut] = {}
    for path in sorted(folder.glob("*-of-*.npz*")):
        match = NAME.fullmatch(path.name)
        if match is None or int(match[1]) > int(match[2]):
            continue
        finished = match[3] is None and wanted.fits(path)
        if finished or (match[3] or "").endswith(".partial"):
            cut = cuts.setdefault(int(match[2]), Cut(int(match[2])))
            (cut.finished if finished else cut.begun).add(int(match[1]))
            cut.newest = max(cut.newest, path.stat().st_mtime)
    return cuts


def _weights(model: Path) -> str | None:
    try:
        return read_header(model)[1]
    except CertflowError:
        return None


def _digest(plan: Path) -> str | None:
    try:
        return read_provenance(plan).digest
    except CertflowError:
        return None
