"""Everything that belongs to one running application."""

from dataclasses import dataclass
from threading import BoundedSemaphore

from flask import current_app

from certflow.doors.web import brought
from certflow.doors.web.cards import Cards
from certflow.doors.web.jobs import Jobs
from certflow.doors.web.ready_models import ReadyModels
from certflow.doors.web.settings import Settings
from certflow.doors.web.splits import Splits
from certflow.doors.web.worker import Worker

NAME = "certflow"


@dataclass(frozen=True)
class Site:
    """The parts, made from settings."""

    settings: Settings
    cards: Cards
    jobs: Jobs
    splits: Splits
    ready: ReadyModels
    worker: Worker
    streams: BoundedSemaphore
    """One for each page that follows a job live."""

    @classmethod
    def of(cls, settings: Settings) -> "Site":
        cards, jobs = Cards(settings.results, settings.own), Jobs(settings.own / "jobs")
        ready = ReadyModels(settings)
        return cls(
            settings=settings,
            cards=cards,
            jobs=jobs,
            splits=Splits(settings.results),
            ready=ready,
            worker=Worker(jobs, ready, cards.get, settings.queue),
            streams=BoundedSemaphore(settings.streams),
        )

    def start(self) -> None:
        """Clear away what a kill left half made, and work from now on. Nobody else may serve the same folder."""
        self.jobs.sweep()
        brought.sweep(self.settings.own)
        self.worker.start()


def here() -> Site:
    """The site that the current request is for."""
    return current_app.extensions[NAME]
