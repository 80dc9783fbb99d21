"""What jobs do, by the kind of work that was asked for."""

from collections.abc import Callable
from typing import Any

from certflow.doors.web.job import Job
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.tasks.attack import attack
from certflow.doors.web.tasks.batch import certify_batch
from certflow.doors.web.tasks.certify import certify_one

TASKS: dict[str, Callable[[Job[Any], Ready], None]] = {
    "certify": certify_one,
    "batch": certify_batch,
    "attack": attack,
}
"""Kind of work → what does it. It raises `Stopped` where it was asked to stop."""
