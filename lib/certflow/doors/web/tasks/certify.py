"""One image: its counts grow in instalments where the way allows it, else they are made at once."""

import time
from typing import Any

import numpy as np
import torch

from certflow.certify.live import Live, Moment
from certflow.certify.memory import certify
from certflow.denoising.composed import denoiser_of
from certflow.doors.web.asked import AskedCertify
from certflow.doors.web.job import Job
from certflow.doors.web.law import Law, law_of
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.tasks.following import check, followed, forget_partial
from certflow.noise.streams import Stream
from certflow.sampling.copies import noisy_copies
from certflow.sampling.settings import engine_settings

LOOKING = 0.03
"""Share of the time that may go into looks, which cost some milliseconds each."""
SAVED = 1.0
"""Seconds between two saves of the counts: what a kill can lose."""
COPIES = 3
TOP = 10
"""Classes whose counts are listed one by one."""


def certify_one(job: Job[AskedCertify], ready: Ready) -> None:
    """See `certflow.doors.web.tasks.TASKS`."""
    law = law_of(job.asked.draws, ready.card)
    image = torch.from_numpy(job.pixels()[:1])
    work = _grow if law.grows else _at_once
    work(job, ready, image, law)


def _grow(job: Job[AskedCertify], ready: Ready, image: torch.Tensor, law: Law) -> None:
    asked = job.asked
    place = {"seed": asked.draws.seed, "index": asked.picture.index}
    live = Live(ready.base, image[0], *law.specs, **place, state=job.counts())
    job.cut_moments(live.drawn)
    seen = job.moments[-1]["drawn"] if job.moments else -1
    copied, saved = bool(job.copies()), time.monotonic()
    try:
        for moment in live.moments(job.status.until or asked.draws.n, looking=LOOKING):
            if moment.drawn > seen:
                job.add_moment(plain_moment(moment))
            if moment.drawn and not copied:
                keep_copies(job, ready, image, law)
                copied = True
            if time.monotonic() - saved > SAVED:
                job.write_counts(live.state())
                saved = time.monotonic()
            check(job)
    finally:
        job.write_counts(live.state())


def _at_once(job: Job[AskedCertify], ready: Ready, image: torch.Tensor, law: Law) -> None:
    asked = job.asked
    keep_copies(job, ready, image, law)
    options = {"seed": asked.draws.seed, "index": [asked.picture.index], "running": followed(job, ready.base, 0)}
    found = certify(ready.base, image, *law.specs, **options)
    row = plain_row(found.table.iloc[0].to_dict())
    counts = np.asarray(found.arrays["counts"][0])
    selected = int(row.get("selected", row["predict"]))
    numbers = {"seconds": np.array(row["seconds"]), "best": np.array(row["radius"])}
    job.write_counts({"first": np.zeros_like(counts), "counts": counts, **numbers})
    job.write_found({"row": row, "claim": found.notes["claim"]})
    job.add_moment(
        {
            "drawn": int(counts.sum()),
            **_counts(counts, selected),
            "p_lower": row["p_lower"],
            "p_upper": None,
            "predict": row["predict"],
            "radius": row["radius"],
            "best": row["radius"],
            "valid": True,
            "seconds": row["seconds"],
        }
    )
    forget_partial(job)


def plain_moment(moment: Moment) -> dict[str, Any]:
    """A moment as plain values for pages."""
    return {
        "drawn": moment.drawn,
        **_counts(moment.counts, moment.selected),
        "p_lower": moment.p_lower,
        "p_upper": moment.p_upper,
        "predict": moment.predict,
        "radius": moment.radius,
        "best": moment.best,
        "valid": moment.valid,
        "seconds": moment.seconds,
    }


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table with Python's own numbers, and None for what is none."""
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in found.items()
    }


@engine_settings()
@torch.inference_mode()
def keep_copies(job: Job[AskedCertify], ready: Ready, image: torch.Tensor, law: Law) -> None:
    """Keep a few noisy copies as they are counted, their denoised forms where there is a denoiser, and their classes."""
    asked, base = job.asked, ready.base
    drawn = {"seed": asked.draws.seed, "stream": Stream.SELECTION, "arithmetic": law.sampler.arithmetic}
    noisy = noisy_copies(base, image, asked.picture.index, law.noise, COPIES, **drawn)
    copies = torch.from_numpy(noisy)
    classes = base.classify(base.prepare(copies))[0].cpu().numpy()
    found = {"noisy": noisy, "classes": classes}
    denoiser = denoiser_of(ready.brought.model)
    if denoiser is not None:
        found["denoised"] = denoiser(copies.to(next(denoiser.parameters()).device)).float().cpu().numpy()
    job.write_copies(**found)


def _counts(counts: np.ndarray, selected: int) -> dict[str, Any]:
    """The largest counts as [class, count], all others together, and the share of the selected class."""
    order = np.argsort(-counts, kind="stable")[:TOP].tolist()
    if selected >= 0 and selected not in order:
        order[-1] = selected
    drawn = int(counts.sum())
    top = [[number, int(counts[number])] for number in order]
    share = float(counts[selected] / drawn) if drawn and selected >= 0 else None
    return {"top": top, "rest": drawn - sum(count for _, count in top), "selected": selected, "p_hat": share}
