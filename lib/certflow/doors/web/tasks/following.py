"""How work is followed and stopped: between two chunks of draws."""

from collections.abc import Callable
from typing import Any

from certflow.certify.memory import Running
from certflow.doors.web.job import Job
from certflow.kinds.spec import digest
from certflow.machine.naming import device_name
from certflow.sampling.base import ENGINE_REVISION, Measurement
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.resume import Journal


class Stopped(Exception):
    """Somebody asked the job to stop, or the server ends. Not an error."""


def check(job: Job) -> None:
    """`Stopped` where the job is to stop."""
    if job.stopping.is_set():
        raise Stopped


def followed(job: Job, base: BaseClassifier, image: int, progress: Callable[[int, int], None] | None = None) -> Running:
    """How the counting of one of a job's images is followed: resumable after a kill, stoppable, and seen on the page.

    progress: hears (draws done, draws in all) of a stage, instead of the job's own progress.
    """

    def watch(stage: str, done: int, total: int) -> None:
        check(job)
        (progress or job.progress)(done, total)

    def journal(wanted: Measurement) -> Journal:
        made = {"job": job.id, "image": image, "engine": ENGINE_REVISION, "notes": base.describe()}
        made |= {"device": device_name(base.device), "versions": base.versions}
        identity: dict[str, Any] = {**made, "measurement": wanted.name, **wanted.planned()}
        return Journal(job.folder / f"{wanted.name}.partial", digest(identity), seconds=1.0, noted=False)

    return Running(journals=journal, watch=watch)


def forget_partial(job: Job) -> None:
    """Remove partial counts: the result is kept."""
    for path in job.folder.glob("*.partial*"):
        path.unlink(missing_ok=True)
