"""One thread that does all jobs, one after the other; what waits is bounded, and what is unfinished on disk goes on."""

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from certflow.doors.web.card import Card
from certflow.doors.web.job import Job
from certflow.doors.web.jobs import Jobs
from certflow.doors.web.ready_models import Ready, ReadyModels
from certflow.errors import ArtefactError, CertflowError, short_of_memory, shortage
from certflow.sampling.settings import engine_settings

log = logging.getLogger(__name__)
PATIENCE = 20.0
"""Seconds that a program waits for the job at work to end."""
ERRANDS = 4
"""Programs that may wait so at the same time: each holds one of the threads that answer requests, and pages need some."""


class Full(Exception):
    """No more work is taken for now. The text says what is waited for, and what to do."""

    def __init__(
        self, said: str = "Too many jobs are waiting. Wait until some are done, or stop one, and send this again."
    ):
        super().__init__(said)


@dataclass(frozen=True, eq=False)
class Errand:
    """Something short that is done between jobs, while the one who asked waits."""

    model: str
    work: Callable[[Ready], Any]
    answer: Future = field(default_factory=Future)


class Worker:
    """The queue and the thread. A GPU, or a CPU's cores, are best used by one job at a time."""

    def __init__(self, jobs: Jobs, ready: ReadyModels, card: Callable[[str], Card], limit: int):
        self.jobs, self.models, self.card, self.limit = jobs, ready, card, limit
        self.waiting: deque[Job] = deque()
        self.errands: deque[Errand] = deque()
        self.changed = threading.Condition()
        self.running: Job | None = None
        self.closing = False
        self.thread = threading.Thread(target=self._loop, name="certflow-worker", daemon=True)

    def start(self) -> None:
        """Take up unfinished jobs, and work from now on."""
        for job in self.jobs.unfinished():
            job.become("queued", interrupted=job.status.state == "running" or job.status.interrupted)
            self.waiting.append(job)
        self.thread.start()

    def room(self) -> bool:
        """Whether one more job may wait."""
        return len(self.waiting) + len(self.errands) < self.limit

    def submit(self, job: Job) -> None:
        """Queue a new job; `Full` where too many wait."""
        with self.changed:
            if not self.room():
                raise Full
            self.waiting.append(job)
            self.changed.notify()

    def again(self, job: Job, until: int | None) -> None:
        """Queue a job that has ended, up to so many draws in all; nothing where another page was faster. `Full`."""
        with self.changed:
            if not job.ended:
                return
            if not self.room():
                raise Full
            job.stopping.clear()
            job.become("queued", until=until)
            self.waiting.append(job)
            self.changed.notify()

    def ask(self, model: str, work: Callable[[Ready], Any], patience: float = PATIENCE) -> Any:
        """What `work` makes of a model, done by the thread before the next job. `Full` at once where too many wait, and after
        so many seconds where it was not begun; what the work raises."""
        errand = Errand(model, work)
        with self.changed:
            if not self.room():
                raise Full
            if len(self.errands) >= ERRANDS:
                raise Full("Other requests wait for the job at work already. Send this again later.")
            self.errands.append(errand)
            self.changed.notify()
        wait([errand.answer], patience)
        if errand.answer.cancel():
            with self.changed:
                if errand in self.errands:
                    self.errands.remove(errand)
            raise Full(
                f"The job at work takes longer than {patience:g} s. Send this again when it is done, or stop it."
            )
        return errand.answer.result()

    def stop(self, job: Job) -> None:
        """Stop a job; what it has counted stays."""
        with self.changed:
            job.stopping.set()
            if job in self.waiting:
                self.waiting.remove(job)
                job.end("stopped")
                self._moved()
            elif not job.ended:
                job.touch()

    def place(self, job: Job) -> int | None:
        """How many jobs come first; None where it does not wait."""
        with self.changed:
            if job not in self.waiting:
                return None
            return list(self.waiting).index(job) + (self.running is not None)

    def close(self, timeout: float = 30.0) -> None:
        """End the thread. A job at work saves its counts and is left `running` on disk: the next start goes on with it."""
        with self.changed:
            self.closing = True
            if self.running is not None:
                self.running.stopping.set()
            self.changed.notify()
        if self.thread.is_alive():
            self.thread.join(timeout)

    def _card(self, model: str) -> Card:
        try:
            return self.card(model)
        except KeyError:
            raise ArtefactError("the model is not there any more; make it again") from None

    def _loop(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.errands or self.closing)
                if self.closing:
                    return
                errand = self._errand()
                job = self.waiting.popleft() if errand is None and self.waiting else None
                self.running = job
                self._moved()
            if errand is not None:
                self._answer(errand)
            if job is not None:
                self._work(job)

    def _work(self, job: Job) -> None:
        try:
            self._do(job)
        finally:
            with self.changed:
                self.running = None
                self._moved()

    def _moved(self) -> None:
        """Say so to those who watch the jobs that wait: their places changed."""
        for job in self.waiting:
            job.touch()

    def _errand(self) -> Errand | None:
        """The next errand that is still waited for."""
        while self.errands:
            errand = self.errands.popleft()
            if errand.answer.set_running_or_notify_cancel():
                return errand
        return None

    def _answer(self, errand: Errand) -> None:
        try:
            ready = self.models.take(self._card(errand.model))
            with engine_settings():
                errand.answer.set_result(errand.work(ready))
        except Exception as error:  # whoever asked hears of it
            errand.answer.set_exception(error)

    def _do(self, job: Job) -> None:
        """One job, whatever happens in it."""
        from certflow.doors.web.tasks import TASKS
        from certflow.doors.web.tasks.following import Stopped

        try:
            job.become("running")
            job.mend()
            ready = self.models.take(self._card(job.asked.model))
            with engine_settings():  # held for the whole job: the memory of one instalment is kept for the next
                TASKS[job.asked.work](job, ready)
        except Stopped:
            if not self.closing:
                job.end("stopped")
        except (CertflowError, ValueError) as error:
            job.end("failed", str(error))
        except Exception as error:
            log.exception("job %s", job.id)
            with suppress(OSError):
                (job.folder / "error.txt").write_text(traceback.format_exc())
            said = shortage(error) if short_of_memory(error) else type(error).__name__
            job.end("failed", f"{said}; the server's log and error.txt of the job say more")
        else:
            job.end("done")
            if job.moments:
                self.models.measured(job.asked.model, job.moments[-1])
