"""The errors of certflow. Each says where the trouble is, what it is, and how to mend it."""

import difflib
import errno
from collections.abc import Iterable

SHORT = ("allocate memory", "bad_alloc", "out of memory", "ALLOC_FAILED")
"""Words by which torch and the libraries below it say, in errors of no class of their own, that memory did not suffice.

oneDNN's "could not create a memory" is none of them: it cannot describe a layout, as in torch 2.11 that of images of one pixel.
"""


class CertflowError(Exception):
    """Base of all errors that certflow raises on purpose."""


class ConfigError(CertflowError):
    """Every problem found in a configuration, at once.

    `problems` is a list of lines `path.to.key: what is wrong, what was given, what is allowed`.
    """

    def __init__(self, problems: list[str], source: str = "config.yaml"):
        self.problems = list(problems)
        self.source = source
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "\n".join(f"  {source}: {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} {noun} in the configuration\n{lines}")

    def __reduce__(self) -> tuple[type, tuple[list[str], str]]:
        """Made again from its problems in another process; from the finished message it would be by default."""
        return type(self), (self.problems, self.source)

    @property
    def inline(self) -> str:
        """The problems in one line, for settings that do not come from a configuration file."""
        return "; ".join(line.removeprefix(": ") for line in self.problems)


class DataError(CertflowError):
    """Missing, truncated or inconsistent input data; names the file and the remedy."""


class ArtefactError(CertflowError):
    """A file written by certflow that is corrupt, or was made from another specification than the one asked for."""


class UnreadableError(ArtefactError):
    """A file that the system does not give out: no permission, a disk or network that fails. Its content may be whole."""


class BusyError(CertflowError):
    """Another process is writing the same artefact."""


class NonFiniteError(CertflowError):
    """Logits or a loss became NaN or infinite; names the image or step."""


class UnsuitableError(CertflowError, ValueError):
    """Arguments that do not go together, such as a method and a number of devices; says which of them."""


class TrainingError(CertflowError):
    """A training that goes on but learns nothing any more; says how to change its recipe."""


def short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, be it a GPU's or the machine's own.

    It says nothing of what was tried: no file is damaged and no model unfit because of it.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True  # the latter is torch's, which is not loaded here
    return not isinstance(error, CertflowError) and any(words in str(error) for words in SHORT)


def shortage(error: BaseException) -> str:
    """What is said of such an error where it ends the work."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"memory did not suffice ({reason}); free some, or take a machine or a GPU with more, and run again"


def listed(names: Iterable[str], meant: object = None) -> str:
    """The names that there are, as messages list them; where one of them is close to what was `meant`, it is suggested."""
    names = list(names)
    text = ", ".join(names) or "none"
    close = difflib.get_close_matches(meant, names, n=1) if isinstance(meant, str) else []
    return f"{text}; did you mean {close[0]}?" if close else text


def no_entry(name: str, section: str, known: Iterable[str]) -> str:
    """What is said of a name that leads nowhere, with the entries that its section of the configuration has."""
    return f"no entry {name!r} in {section}; known: {listed(known, name)}"
