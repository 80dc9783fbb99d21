"""Where a sampling job keeps its counts while it works, so that a kill loses no more than what came after the last save."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.attempts import finish_attempts, note_attempt
from certflow.files.parts import remove_parts
from certflow.files.provenance import Provenance
from certflow.kinds.spec import digest

SAVE_SECONDS = float(os.environ.get("CERTFLOW_SAVE_SECONDS") or 30)
"""At most one save in this time: saving costs a flush to disk."""

POSITIONS = {"rows": "draw", "look": "look"}
"""Array that says how far a state has come → what it counts."""


@dataclass
class Journal:
    """Partial counts of one job in one file, bound to the job by `digest`.

    A file of another job (another spec, model or plan) is discarded, since its result is not wanted any more, with a line that
    says so; a damaged one is refused. Neither is ever mixed with this job's counts.
    """

    path: Path
    digest: str
    seconds: float = SAVE_SECONDS
    saved_at: float = field(default_factory=time.monotonic)
    noted: bool = True
    """Whether its attempts are noted (`certflow.files.attempts`)."""
    locked: bool = False
    """Whether the caller holds the job's lock, so that nobody else writes the file."""
    first: Callable[[], None] | None = None
    """What has to be stored before this is, once."""

    def load(self, images: int, classes: int) -> tuple[int, np.ndarray, np.ndarray] | None:
        """(rows done, counts int64 [images, classes], seconds float64 [images]) as last saved, or None at the beginning."""
        arrays = self.read()
        if arrays is None:
            return None
        if arrays["counts"].shape != (images, classes):
            raise ArtefactError(f"{self.path}: holds other images or classes than this job; delete it and run again")
        return int(arrays["rows"]), arrays["counts"].copy(), arrays["seconds"].copy()

    def save(self, rows: int, counts: np.ndarray, seconds: np.ndarray) -> None:
        """Store the state, unless the last save is more recent than `seconds`."""
        if self.due():
            self.write({"rows": np.array(rows, np.int64), "counts": counts, "seconds": seconds})

    def due(self) -> bool:
        """Whether the last save lies `seconds` or more back."""
        return time.monotonic() - self.saved_at >= self.seconds

    def read(self) -> dict[str, np.ndarray] | None:
        """The arrays as last stored, or None at the beginning.

        Also notes the attempt, and removes what a kill in the middle of saving has left behind.
        """
        arrays = self._read()
        if self.noted:
            note_attempt(self.path, _begun(arrays))
        return arrays

    def _read(self) -> dict[str, np.ndarray] | None:
        remove_parts(self.path, locked=self.locked)
        if not self.path.exists():
            return None
        arrays, record = read_arrays(self.path, format="partial counts")
        if record.spec["job"] != self.digest:
            if self.noted:
                print(
                    f"{self.path}: belongs to another job (other settings, model, plan, images, device or versions); counting "
                    f"starts from the beginning",
                    file=sys.stderr,
                    flush=True,
                )
            self.path.unlink()
            return None
        return arrays

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Store any arrays, now."""
        if self.first is not None:
            self.first()
            self.first = None
        write_arrays(self.path, arrays, Provenance(format="partial counts", spec={"job": self.digest}))
        self.saved_at = time.monotonic()

    def instalment(self, number: int, first: Callable[[], None] | None = None) -> "Journal":
        """The journal of one part of the job, in a file beside this one; a part's state never serves for another part.

        first: stores the state that the part follows on, without which nobody would find it again.
        """
        job = digest({"job": self.digest, "instalment": number})
        return Journal(self._instalments(), job, self.seconds, noted=False, locked=self.locked, first=first)

    def remove(self) -> None:
        """Forget the state: the result is stored. What remains is the journal of a job that needed several attempts."""
        for path in (self.path, self._instalments()):  # a kill may have left an instalment that the state already holds
            path.unlink(missing_ok=True)
        finish_attempts(self.path)

    def _instalments(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part-of-it")


def _begun(arrays: Mapping[str, np.ndarray] | None) -> str:
    """How an attempt starts, in the journal's words."""
    if arrays is None:
        return "began"
    place = next((f" from {unit} {int(arrays[key]):,}" for key, unit in POSITIONS.items() if key in arrays), "")
    return f"resumed{place}"
