"""What jobs do, by the kind of work that was asked for."""

from collections.abc import Callable

from certflow.doors.web.job import Job
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.work.attack import attack
from certflow.doors.web.work.batch import certify_batch
from certflow.doors.web.work.certify import certify_one

WORK: dict[str, Callable[[Job, Ready], None]] = {
    "certify": certify_one,
    "batch": certify_batch,
    "attack": attack,
}
"""Kind of work → what does it. It raises `Stopped` where it was asked to stop."""
