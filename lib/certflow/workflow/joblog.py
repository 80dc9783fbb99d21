"""The log of a job: where all of its output goes, and where that goes instead when the disk is full."""

import io
import os
import sys
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError
from certflow.files.intact import brief
from certflow.files.opening import open_plain


def log_to(path: str | Path) -> None:
    """Have all output of this process go to the end of the file `path`: descriptors 1 and 2, so that of C++ and CUDA lands
    there too.

    What Python writes and the file does not take goes where the output went before, to Snakemake's terminal: on a full disk
    the job would otherwise end in an error of its own message, and nobody could read why. `ArtefactError` where there can be
    no such file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise ArtefactError(f"{path}: the log could not be opened ({brief(error)}); mend that and run again") from error
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        stream.flush()
        before = os.dup(number)
        os.dup2(handle, number)
        taken: Any = _Taken(number, before)  # unbuffered: what was said before a kill is in the file
        text = io.TextIOWrapper(taken, stream.encoding, "backslashreplace", newline="\n", write_through=True)
        setattr(sys, name, text)
    os.close(handle)


class _Taken(io.RawIOBase):
    """Bytes to one descriptor, or to another where that does not take them, or to none: writing never fails."""

    def __init__(self, first: int, instead: int):
        self._descriptors = (first, instead)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptors[0]

    def write(self, data) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        for descriptor in self._descriptors:
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
            except OSError:
                continue
        return size
