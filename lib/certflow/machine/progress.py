"""Progress of long work: rate and time left, on a terminal as a bar, in a log file as a line now and then."""

import sys

from tqdm import tqdm

LOG_SECONDS = 15.0
"""Seconds between two lines when the output is not a terminal."""


class _Lines:
    """A file-like object that turns tqdm's carriage returns into lines, for log files."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self.stream.write(line + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(total: int, unit: str, description: str, *, initial: int = 0, quiet: bool = False) -> tqdm:
    """A tqdm bar counting `unit`s up to `total`; call `.update(k)` and, for extra figures, `.set_postfix(...)`."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        unit_scale=total >= 10_000,
        mininterval=0.2 if terminal else LOG_SECONDS,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        dynamic_ncols=terminal,
        ncols=None if terminal else 110,
        disable=quiet,
        leave=True,
    )
