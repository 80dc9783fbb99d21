"""Catch a process in the middle of its work, on a machine of any speed: it stops itself when a certain file appears.

Watching for the file from outside may come too late. Here every Python that a test starts has a `sitecustomize` (in `hold/`)
which looks, after each renaming, whether the test asked for the new name; artefacts get theirs by renaming. No test in here.
"""

import os
import signal
from pathlib import Path


class Holds:
    """Requests to stop, each met once, kept as files of `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the processes that heed the requests."""
        path = [str(Path(__file__).with_name("hold")), os.environ.get("PYTHONPATH", "")]
        return {"HOLDS": str(self.folder), "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def ask(self, path: Path, where: str = "") -> None:
        """Let the next process that makes `path` stop at once after that; `where` (`NAME=value`): one with this variable."""
        self._request(path).write_text(where)

    def stopped(self, path: Path) -> int | None:
        """The process that made `path` and has stopped; None where there is none yet."""
        for met in self.folder.glob(f"{self._request(path).name}.*"):
            process = int(met.suffix[1:])
            if _state(process) == "T":
                return process
        return None

    def release(self, path: Path) -> None:
        """Let the stopped process go on."""
        os.kill(self.stopped(path), signal.SIGCONT)

    def _request(self, path: Path) -> Path:
        return self.folder / str(path).replace("/", "%")


def _state(process: int) -> str:
    """The letter that /proc gives for a process's state; empty where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
