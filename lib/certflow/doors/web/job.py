"""A job on disk: a folder with what was asked, the pixels, what is known so far, and the counts to go on from.

asked.json     what was asked for; never changes, checked by its own checksum
pixels.npz     the images that belong to it
state.json     how far it is
moments.jsonl  what was known after each instalment, for the page
counts.npz     the counts, checked whenever they are read
table.jsonl    finished rows
found.json     what else was found, plain values
copies.npz     pictures for the page
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeGuard, TypeVar

import numpy as np
from pydantic import ValidationError

from certflow.doors.web.asked import Asked, AskedBatch, AskedCertify
from certflow.files.artefact import Provenance, atomic, read_arrays, write_arrays
from certflow.kinds.spec import Record

State = Literal["queued", "running", "done", "stopped", "failed"]
A = TypeVar("A", bound=Asked, covariant=True)
ENDED = ("done", "stopped", "failed")


class Status(Record):
    """How far a job is."""

    state: State = "queued"
    message: str = ""
    """Why it failed, or what else is worth saying."""
    until: int | None = None
    """Draws to make in all, where one went on beyond what was asked for first."""
    done: int = 0
    total: int = 0
    """Units of work, where the job has no moments."""
    interrupted: bool = False
    """Whether the server ended in the middle of it; it went on from its counts."""
    when: float = 0.0
    """Time of the last change of state."""


class Job(Generic[A]):
    """One job; shared by the worker, which changes it, and by pages, which wait for changes."""

    def __init__(self, folder: Path, asked: A, made: float):
        self.folder, self.id, self._asked, self.made = folder, folder.name, asked, made
        self.changed = threading.Condition()
        self.version = 0
        self.stopping = threading.Event()
        self.status = _read_status(folder)
        self._moments: list[dict[str, Any]] | None = None

    @property
    def asked(self) -> A:
        """What was asked for; never changes."""
        return self._asked

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen unless somebody asks for it."""
        return self.status.state in ENDED

    @property
    def moments(self) -> list[dict[str, Any]]:
        """What was known after each instalment, plain values."""
        if self._moments is None:
            self._moments = list(_lines(self.folder / "moments.jsonl"))
        return self._moments

    @property
    def table(self) -> list[dict[str, Any]]:
        """Finished rows."""
        return list(_lines(self.folder / "table.jsonl"))

    def become(self, state: State, message: str = "", **more: Any) -> None:
        """Change the state, on disk first."""
        fields = {"state": state, "message": message, "when": time.time(), **more}
        self._write(self.status.model_copy(update=fields))

    def progress(self, done: int, total: int) -> None:
        """Say how far it is; not kept on disk, since the counts are."""
        self._announce(self.status.model_copy(update={"done": done, "total": total}))

    def add_moment(self, moment: Mapping[str, Any]) -> None:
        """Append what is known now."""
        self.moments.append(dict(moment))
        _append(self.folder / "moments.jsonl", moment)
        self._announce(self.status)

    def cut_moments(self, drawn: int) -> None:
        """Forget moments after more draws than `drawn`: they were shown, but their counts were not saved before a kill."""
        self._moments = [moment for moment in self.moments if moment["drawn"] <= drawn]
        with atomic(self.folder / "moments.jsonl") as part:
            part.write_text("".join(json.dumps(moment) + "\n" for moment in self._moments))

    def mend(self) -> None:
        """Before going on after a kill: cut off the lines that it left half written."""
        for name in ("moments.jsonl", "table.jsonl"):
            if (self.folder / name).exists():
                rows = list(_lines(self.folder / name))
                with atomic(self.folder / name) as part:
                    part.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Append a finished row."""
        _append(self.folder / "table.jsonl", row)
        self._announce(self.status)

    def write_found(self, found: Mapping[str, Any]) -> None:
        """Keep what else was found."""
        with atomic(self.folder / "found.json") as part:
            part.write_text(json.dumps(found, allow_nan=False))

    @property
    def found(self) -> dict[str, Any]:
        """What else was found; empty before."""
        try:
            return json.loads((self.folder / "found.json").read_text())
        except FileNotFoundError:
            return {}

    def write_counts(self, state: Mapping[str, np.ndarray]) -> None:
        """Keep the counts to go on from."""
        record = Provenance(format="live counts", spec={"job": self.id})
        write_arrays(self.folder / "counts.npz", state, record)

    def counts(self) -> dict[str, np.ndarray] | None:
        """The counts that were kept; None before the first."""
        if not (self.folder / "counts.npz").exists():
            return None
        return read_arrays(self.folder / "counts.npz", format="live counts", spec={"job": self.id})[0]

    def pixels(self) -> np.ndarray:
        """uint8 [images, channels, height, width]: the images that belong to it."""
        return read_arrays(self.folder / "pixels.npz", format="web pixels", spec={"job": self.id})[0]["images"]

    def write_copies(self, **pictures: np.ndarray) -> None:
        """Keep pictures for the page."""
        with atomic(self.folder / "copies.npz") as part, open(part, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **pictures)

    def copies(self) -> dict[str, np.ndarray]:
        """Pictures for the page; empty before there are any."""
        path = self.folder / "copies.npz"
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def wait(self, seen: int, timeout: float) -> int:
        """Wait until something changed after version `seen`; the version now."""
        with self.changed:
            self.changed.wait_for(lambda: self.version > seen, timeout)
            return self.version

    def _write(self, status: Status) -> None:
        with atomic(self.folder / "state.json") as part:
            part.write_text(status.model_dump_json())
        self._announce(status)

    def _announce(self, status: Status) -> None:
        with self.changed:
            self.status = status
            self.version += 1
            self.changed.notify_all()


def certifies_one(job: Job[Asked]) -> TypeGuard[Job[AskedCertify]]:
    """Whether the job is a certificate of one image."""
    return isinstance(job.asked, AskedCertify)


def certifies_several(job: Job[Asked]) -> TypeGuard[Job[AskedBatch]]:
    """Whether the job is a batch of certificates."""
    return isinstance(job.asked, AskedBatch)


def _read_status(folder: Path) -> Status:
    try:
        return Status.model_validate_json((folder / "state.json").read_text())
    except FileNotFoundError:
        return Status()
    except ValidationError:
        return Status(state="failed", message="its state cannot be read; start another job")


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a last one that a kill has cut off is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
