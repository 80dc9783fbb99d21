"""The command `certflow`."""

import argparse
import sys
import warnings
from contextlib import suppress

from certflow import __version__
from certflow.doors.commands import commands
from certflow.errors import CertflowError, short_of_memory, shortage
from certflow.files.printable import printable
from certflow.machine.standard import open_standard

BAD_INPUT = 1
"""Exit status where a file or a setting cannot be used; 2 is argparse's for a command that is not written as it should be."""
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's own); the exit status.

    0: done. 1: bad input; the message on stderr says what is wrong and how to mend it. 2: unknown command or option. 3: done,
    but what was required does not hold.
    """
    closed = sys.stdout is None
    open_standard()
    parser = argparse.ArgumentParser(
        prog="certflow", description="Certified robustness of neural networks by smoothing."
    )
    parser.add_argument("--version", action="version", version=f"certflow {__version__}")
    below = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, module in commands().items():
        own = below.add_parser(name, help=module.HELP, description=module.__doc__, allow_abbrev=False)
        module.add(own)
        own.set_defaults(run=module.run)
    given = parser.parse_args(arguments)
    if closed:
        print("error: the standard output is closed, and the answer would be lost; write it to a file", file=sys.stderr)
        return BAD_INPUT
    if not hasattr(given, "run"):
        parser.print_help()
        return 0
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _shown  # ty: ignore[invalid-assignment]  # the documented way to show warnings otherwise
            status = given.run(given)
        _write_out()
        return status
    except (CertflowError, ValueError, ImportError) as error:
        print(f"error: {_lines(error)}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        if not short_of_memory(error):
            raise
        print(f"error: {shortage(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as error:  # where counts are kept, or could be, it says so
        print("; ".join(filter(None, ("interrupted", str(error)))), file=sys.stderr)
        return INTERRUPTED


def _write_out() -> None:
    """Flush the output while an error can still be reported by a message and the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()  # or Python tries once more as it ends
        raise


def _shown(message: Warning | str, *rest: object) -> None:
    """A warning in one line, without the place in the code."""
    print(f"warning: {_lines(message)}", file=sys.stderr)


def _lines(said: Warning | Exception | str) -> str:
    """A message as a terminal may show it: names in it may be those of a file that others wrote."""
    return "\n".join(map(printable, str(said).split("\n")))


if __name__ == "__main__":
    sys.exit(main())
