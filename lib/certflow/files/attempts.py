"""The journal of a resumable job: one line per attempt, kept beside its partial results.

Schedulers and Snakemake throw away the log of a failed attempt. This file says afterwards that there were several, where each
ran, and from where it went on.
"""

import os
import sys
from pathlib import Path

from certflow.errors import ArtefactError
from certflow.files.opening import open_plain
from certflow.files.whereabouts import describe, now, whereabouts


def journal_path(state: str | Path) -> Path:
    """Where the attempts of the job that keeps its partial results in `state` are noted."""
    return Path(f"{state}.attempts")


def note_attempt(state: str | Path, begun: str) -> None:
    """Append a line: when, where, and how this attempt `begun` ("began", "resumed from draw 17"); also print it.

    A line that cannot be written (a full disk, a link under the journal's name) is only printed: it is not part of the result.
    """
    line = f"{now()} {describe(whereabouts())}: {begun}\n"
    print(f"{state}: {begun}", file=sys.stderr, flush=True)
    try:
        with open(open_plain(journal_path(state), os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a") as journal:
            journal.write(line)
    except (OSError, ArtefactError) as error:
        print(f"this attempt is not noted: {error}", file=sys.stderr, flush=True)


def finish_attempts(state: str | Path) -> None:
    """Forget the journal of a job that needed one attempt only; keep that of any other."""
    path = journal_path(state)
    try:
        if path.read_bytes().count(b"\n") < 2:
            path.unlink()
    except FileNotFoundError:
        pass
