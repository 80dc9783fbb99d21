"""Files from the future: what a clock that was set back leaves, or a copy from a machine whose clock is wrong."""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from certflow.errors import ArtefactError

SLACK = 60.0
"""Seconds that an input may be ahead: clocks of two machines differ, and most jobs take longer."""


def require_past(inputs: Iterable[str | Path], log: str | Path) -> None:
    """`ArtefactError` where one of a job's inputs was last changed later than now, before any work is done.

    Snakemake deletes what a job has made if an input is newer: hours later, and again at every retry. Now is what the file
    system says: the time that it gives to `log`, a file that is there, when that is touched.
    """
    os.utime(log)
    now = os.stat(log).st_mtime
    for path in inputs:
        try:
            changed = max(os.lstat(path).st_mtime, os.stat(path).st_mtime)
        except OSError:  # whoever reads it says what is wrong
            continue
        if changed > now + SLACK:
            raise ArtefactError(
                f"{path}: was last changed at {_shown(changed)}, but it is {_shown(now)}; Snakemake would delete what is made "
                f"from it. Set the clock right, or touch the file, and run again"
            )


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
