"""All jobs of an application: made, found again, listed, deleted."""

import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from certflow.doors.web.asked import Asked, read_asked
from certflow.doors.web.job import Job
from certflow.errors import ArtefactError, CertflowError
from certflow.files.artefact import read_record, write_arrays, write_record
from certflow.files.provenance import Provenance

ID = re.compile(r"[a-z2-7]{12}")
ASKED = "asked.json"
"""The last file of a new job: a folder without it is none."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Jobs:
    """All jobs below a folder."""

    def __init__(self, folder: Path):
        self.folder, self.lock = folder, threading.Lock()
        self.held: dict[str, Job] = {}

    def create(self, asked: Asked, images: np.ndarray, name: str | None = None) -> Job:
        """A new job; images uint8 [images, channels, height, width]. name: instead of a random one."""
        name = name or new_id()
        folder = self.folder / name
        folder.mkdir(parents=True)
        own = {"job": name}
        try:
            write_arrays(folder / "pixels.npz", {"images": images}, Provenance(format="web pixels", spec=own))
            plain = {**own, "asked": asked.model_dump(mode="json")}
            write_record(folder / ASKED, Provenance(format="web job", spec=plain))
            job = Job(folder, asked, time.time())
            job.become("queued")
        except BaseException:  # a full disk, say
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self.lock:
            self.held[name] = job
        return job

    def get(self, name: str) -> Job:
        """The job of that name; KeyError where there is none."""
        if not ID.fullmatch(name):
            raise KeyError(name)
        with self.lock:
            if name in self.held and not (self.folder / name / ASKED).exists():
                del self.held[name]  # somebody deleted the folder, which deletes the job
            if name not in self.held:
                self.held[name] = _opened(self.folder / name)
            return self.held[name]

    def latest(self, limit: int = 12) -> list[Job]:
        """The jobs that were made last, the newest first."""
        return [job for job in map(self._readable, self._names()[:limit]) if job is not None]

    def unfinished(self) -> list[Job]:
        """Jobs that wait or were interrupted, the oldest first."""
        found = [self._readable(name) for name in self._names()]
        return sorted((job for job in found if job is not None and not job.ended), key=lambda job: job.made)

    def remove(self, job: Job) -> None:
        """Delete a job that has ended; ValueError for others."""
        if not job.ended:
            raise ValueError("the job has not ended; stop it first")
        self.discard(job)

    def discard(self, job: Job) -> None:
        """Delete a job at which nobody works. Nobody can find it again while its files go, one by one."""
        with self.lock:
            self.held.pop(job.id, None)
            try:
                shutil.rmtree(job.folder)
            except FileNotFoundError:  # somebody was faster
                pass
            except OSError as error:
                raise ArtefactError(
                    f"{job.folder}: could not be deleted ({error.strerror}); delete it yourself"
                ) from error

    def sweep(self) -> None:
        """Delete folders that a kill left before all was in them, or that a job wrote to after somebody had deleted them."""
        for folder in self.folder.glob("*/"):
            if ID.fullmatch(folder.name) and not (folder / ASKED).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _names(self) -> list[str]:
        """Names of the jobs, the one made last first."""
        found = {}
        for path in self.folder.glob(f"*/{ASKED}"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found[path.parent.name] = path.stat().st_mtime
        return sorted(filter(ID.fullmatch, found), key=found.__getitem__, reverse=True)

    def _readable(self, name: str) -> Job | None:
        """The job, or None where its folder is damaged or half deleted; asking for it by name says why."""
        try:
            job = self.get(name)
            job.check()
        except (KeyError, CertflowError):
            return None
        return job


def new_id() -> str:
    """12 random letters and digits: 60 bits, so that addresses cannot be guessed."""
    return "".join(secrets.choice(ALPHABET) for _ in range(12))


def _opened(folder: Path) -> Job:
    path = folder / ASKED
    if not path.exists():
        raise KeyError(folder.name)
    record = read_record(path, format="web job")
    if record.spec.get("job") != folder.name:
        raise ArtefactError(f"{path}: belongs to another job; delete {folder}")
    try:
        asked = read_asked(record.spec["asked"])
    except ValidationError as error:
        raise ArtefactError(f"{path}: was written by another version of certflow; delete {folder}") from error
    return Job(folder, asked, path.stat().st_mtime)
