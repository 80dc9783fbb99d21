"""Several images, one after the other; finished rows are kept, and a killed job goes on with the image it was at."""

from typing import Any

import torch

from certflow.certify.memory import certify
from certflow.doors.web.asked import AskedBatch
from certflow.doors.web.job import Job
from certflow.doors.web.law import law_of
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.tasks.certify import plain_row
from certflow.doors.web.tasks.following import check, followed, forget_partial

KEPT = ("predict", "radius", "n", "k", "p_lower", "selected", "reason", "seconds")


def certify_batch(job: Job[AskedBatch], ready: Ready) -> None:
    """See `certflow.doors.web.tasks.TASKS`. Each image has a certificate of its own, wrong with probability at most alpha."""
    asked = job.asked
    law = law_of(asked.draws, ready.card)
    images, total = job.pixels(), len(asked.pictures)
    for number in range(len(job.table), total):
        check(job)
        running = followed(job, ready.base, number, lambda done, of: None)
        image = torch.from_numpy(images[number : number + 1])
        options = {"seed": asked.draws.seed, "index": [asked.pictures[number].index], "running": running}
        found = certify(ready.base, image, *law.specs, **options)
        job.add_row(_row(found.table.iloc[0].to_dict(), number, asked))
        job.progress(number + 1, total)
        forget_partial(job)


def _row(found: dict[str, Any], number: int, asked: AskedBatch) -> dict[str, Any]:
    """What is kept of an image."""
    row, picture = plain_row(found), asked.pictures[number]
    known = picture.judged(row["predict"])
    kept = {name: row[name] for name in KEPT if name in row}
    return {"number": number, "idx": picture.index, "name": picture.name, **known, **kept}
