"""Standard input, output and error: there, and able to take what is written."""

import io
import os
import sys


def open_standard() -> None:
    """Open /dev/null in the place of each of the three that is closed (`2>&-`, and some schedulers and daemons start processes
    so); before any file is opened that stays open. What the terminal has no signs for is written as `\\xf6`.

    Else the next file gets the number of the one that is closed, and what a library writes to standard error lands in a model
    or a table. And Python has None in its place, with which `print(..., file=sys.stderr)` writes to standard output.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    while handle <= 2:
        os.set_inheritable(handle, True)
        handle = os.dup(handle)
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def answer(text: str) -> None:
    """Write to standard output, now. Where whoever read it has gone (`| head`), the rest goes nowhere, and the command goes on:
    its exit status says more than that it was read."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
