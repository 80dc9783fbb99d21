"""Checked requests become jobs."""

import numpy as np

from certflow.doors.web.asked import Asked, AskedAttack, AskedBatch, AskedCertify, Draws
from certflow.doors.web.card import Card
from certflow.doors.web.forms import Chosen
from certflow.doors.web.job import Job
from certflow.doors.web.site import here
from certflow.doors.web.view import Shown
from certflow.doors.web.worker import Full


def room() -> None:
    """`Full` where no more jobs are taken: asked before anything is written."""
    if not here().worker.room():
        raise Full


def certify(card: Card, draws: Draws, image: Chosen) -> Job:
    """A job of one image."""
    return _submitted(AskedCertify(model=card.id, draws=draws, picture=image.picture), image.pixels[None])


def batch(card: Card, draws: Draws, images: list[Chosen]) -> Job:
    """A job of several images."""
    asked = AskedBatch(model=card.id, draws=draws, pictures=[image.picture for image in images])
    return _submitted(asked, np.stack([image.pixels for image in images]))


def attack(found: Job[AskedCertify], view: Shown) -> Job:
    """Attacks on a job's certificate. They have a seed of their own draws, the certificate's: streams differ.

    ValueError where there is nothing that can be attacked."""
    asked, moment, norm = found.asked, view.moment, view.law.way.norm
    if moment is None or norm not in ("l2", "linf"):
        raise ValueError("there is no certified radius in l2 or l-infinity to attack")
    made = AskedAttack(
        model=asked.model,
        certified=found.id,
        draws=asked.draws,
        picture=asked.picture,
        target=moment["selected"],
        radius=moment["best"],
        norm=norm,
    )
    return _submitted(made, found.pixels())


def further(found: Job, view: Shown | None) -> None:
    """Continue a job that was stopped or failed, or beyond what was planned if the certificate allows it; else do nothing.
    Raises `Full`. view: of a certificate of one image."""
    until = None if view is None else view.further
    if found.resumable or until is not None:
        here().worker.again(found, until)


def _submitted(asked: Asked, images: np.ndarray) -> Job:
    room()
    job = here().jobs.create(asked, images)
    try:
        here().worker.submit(job)
    except Full:  # others came meanwhile; the next start must not take up what was refused
        here().jobs.discard(job)
        raise
    return job
