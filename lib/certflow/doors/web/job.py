"""A job on disk: a folder with what was asked, the pixels, what is known so far, and the counts to continue from.

asked.json     what was asked for; never changes, checked by its own checksum
pixels.npz     the images that belong to it
state.json     how far it is
moments.jsonl  what was known after each instalment, for the page
counts.npz     the counts, checked whenever they are read
table.jsonl    finished rows
found.json     what else was found, plain values
copies.npz     pictures for the page

All files have checksums: an altered or damaged one is named in a message, and never shown (`certflow.doors.web.kept`).
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeGuard, TypeVar

import numpy as np
from pydantic import ValidationError

from certflow.doors.web.asked import Asked, AskedBatch, AskedCertify
from certflow.doors.web.kept import Rows, read_kept, write_kept
from certflow.errors import ArtefactError, CertflowError
from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.provenance import Provenance
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
    """Draws to make in all, if the job was continued beyond what was asked for first."""
    done: int = 0
    total: int = 0
    """Units of work, where the job has no moments."""
    interrupted: bool = False
    """Whether the server ended while it ran; it was then continued from its counts."""


class Job(Generic[A]):
    """One job; shared by the worker, which changes it, and by pages, which wait for changes."""

    def __init__(self, folder: Path, asked: A, made: float):
        self.folder, self.id, self._asked, self.made = folder, folder.name, asked, made
        self.changed = threading.Condition()
        self.version = 0
        self.stopping = threading.Event()
        self.rows = {name: Rows(folder / f"{name}.jsonl", self.id) for name in ("moments", "table")}
        self.status = self._read_status()
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
    def resumable(self) -> bool:
        """Whether it ended before its work was done, so that it can be continued."""
        return self.status.state in ("stopped", "failed")

    @property
    def moments(self) -> list[dict[str, Any]]:
        """What was known after each instalment, plain values."""
        with self.changed:  # one reads: what the worker appends goes to the list that all have
            if self._moments is None:
                self._moments = self.rows["moments"].read()
            return self._moments

    @property
    def table(self) -> list[dict[str, Any]]:
        """Finished rows."""
        return self.rows["table"].read()

    def become(self, state: State, message: str = "", **more: Any) -> None:
        """Change the state, on disk first."""
        self._write(self.status.model_copy(update={"state": state, "message": message, **more}))

    def end(self, state: State, message: str = "") -> None:
        """Change to a last state. Where the disk does not take it, the job has failed: on a page it would go on for ever."""
        try:
            self.become(state, message)
        except CertflowError as error:
            told = "; ".join(filter(None, (message, str(error))))
            self._announce(self.status.model_copy(update={"state": "failed", "message": told}))

    def touch(self) -> None:
        """Say that pages would show something new. The state is left to whoever changes it: it may have ended meanwhile."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def progress(self, done: int, total: int) -> None:
        """Say how far it is; not kept on disk, since the counts are."""
        self._announce(self.status.model_copy(update={"done": done, "total": total}))

    def add_moment(self, moment: Mapping[str, Any]) -> None:
        """Append what is known now."""
        held = self.moments
        self.rows["moments"].append(moment)
        held.append(dict(moment))
        self.touch()

    def cut_moments(self, drawn: int) -> None:
        """Forget moments after more draws than `drawn`: they were shown, but their counts were not saved before a kill."""
        self._moments = [moment for moment in self.moments if moment["drawn"] <= drawn]
        self.rows["moments"].replace(self._moments)

    def mend(self) -> None:
        """Before going on after a kill: cut off the lines that it left half written."""
        for rows in self.rows.values():
            if rows.path.exists():
                rows.replace(rows.read())

    def check(self) -> None:
        """`ArtefactError` where something that pages show is damaged."""
        _ = self.moments, self.table, self.found  # reading them is the check

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Append a finished row."""
        self.rows["table"].append(row)
        self.touch()

    def write_found(self, found: Mapping[str, Any]) -> None:
        """Keep what else was found."""
        write_kept(self.folder / "found.json", "web findings", self.id, dict(found))

    @property
    def found(self) -> dict[str, Any]:
        """What else was found; empty before."""
        path = self.folder / "found.json"
        return read_kept(path, "web findings", self.id) if path.exists() else {}

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
        write_arrays(self.folder / "copies.npz", pictures, Provenance(format="web pictures", spec={"job": self.id}))

    def copies(self) -> dict[str, np.ndarray]:
        """Pictures for the page; empty before there are any."""
        path = self.folder / "copies.npz"
        return read_arrays(path, format="web pictures", spec={"job": self.id})[0] if path.exists() else {}

    def wait(self, seen: int, timeout: float) -> int:
        """Wait until something changed after version `seen`; the version now."""
        with self.changed:
            self.changed.wait_for(lambda: self.version > seen, timeout)
            return self.version

    def _write(self, status: Status) -> None:
        write_kept(self.folder / "state.json", "web state", self.id, status.model_dump(mode="json"))
        self._announce(status)

    def _read_status(self) -> Status:
        path = self.folder / "state.json"
        if not path.exists():
            return Status()
        try:
            return Status.model_validate(read_kept(path, "web state", self.id))
        except (ArtefactError, ValidationError):
            return Status(state="failed", message="its state cannot be read; start another job")

    def _announce(self, status: Status) -> None:
        with self.changed:
            self.status = status
            self.touch()


def certifies_one(job: Job[Asked]) -> TypeGuard[Job[AskedCertify]]:
    """Whether the job is a certificate of one image."""
    return isinstance(job.asked, AskedCertify)


def certifies_several(job: Job[Asked]) -> TypeGuard[Job[AskedBatch]]:
    """Whether the job is a batch of certificates."""
    return isinstance(job.asked, AskedBatch)
