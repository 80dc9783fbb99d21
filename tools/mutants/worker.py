"""A process that runs tests in its own copy of the tree: it imports what is heavy once, and forks for every run.

It reads jobs, one JSON object a line, and answers with one line each. A job is {"map": test file, "traced": whether with lines}
or {"path": ..., "text": ..., "files": [[test file, [tests]], ...], "limit": seconds, "each": seconds}: change that file, run
these tests in this order until one fails, put the file back.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import copies
import tracing

HEAVY = (
    "numpy",
    "scipy.special",
    "scipy.stats",
    "scipy.interpolate",
    "pandas",
    "pydantic",
    "torch",
    "mpmath",
    "pytest",
)
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]


class Chosen:
    """A plugin that keeps the chosen tests, in the order of their choice, and notes which one fails first."""

    def __init__(self, tests: list[str]):
        self.place = {test: number for number, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, config, items):
        items[:] = sorted((item for item in items if item.nodeid in self.place), key=lambda i: self.place[i.nodeid])

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def in_child(work, limit: float) -> dict:
    """What `work()` returns in a process of its own, or {"outcome": "timeout"} or "crash" where it comes to no end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(reader)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        try:
            answer = json.dumps(work())
        except BaseException as error:
            answer = json.dumps({"outcome": "error", "by": f"{type(error).__name__}: {error}"})
        with os.fdopen(writer, "w") as file:
            file.write(answer)
        os._exit(0)
    os.close(writer)
    return _answer(reader, child, limit)


def _answer(reader: int, child: int, limit: float) -> dict:
    """The child's answer; its whole process group is ended whatever happens."""
    import select

    until, text = time.monotonic() + limit, b""
    try:
        while (left := until - time.monotonic()) > 0:
            if select.select([reader], [], [], left)[0]:
                part = os.read(reader, 1 << 20)
                if not part:
                    break
                text += part
        else:
            return {"outcome": "timeout"}
        return json.loads(text) if text else {"outcome": "crash"}
    finally:
        os.close(reader)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)


def mapped(tree: Path, folder: str, file: str, traced: bool) -> dict:
    """Tests of one file with their lines (see `tracing`)."""
    import pytest

    plugin = tracing.Map(tree, folder, traced)
    code = pytest.main([*OPTIONS, "--timeout=0", file], plugins=[plugin])
    return {"outcome": str(int(code)), "tests": plugin.tests()}


def tried(files: list, each: float) -> dict:
    """Run the tests until one fails."""
    import pytest

    options = [*OPTIONS, "-x", f"--timeout={each:.0f}", "--tb=no"]
    chosen = Chosen([test for _, tests in files for test in tests])
    code = pytest.main([*options, *(file for file, _ in files)], plugins=[chosen])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return {"outcome": "survived", "by": ""}
    return {"outcome": "caught", "by": chosen.failed or f"exit code {int(code)}"}


def done(job: dict, tree: Path, folder: str, original: Path) -> dict:
    """One job's answer."""
    if "map" in job:
        return in_child(lambda: mapped(tree, folder, job["map"], job["traced"]), job["limit"])
    path = tree / job["path"]
    copies.written(path, job["text"])
    try:
        return in_child(lambda: tried(job["files"], job["each"]), job["limit"])
    finally:
        copies.restored(path, original / job["path"])


def main(tree: Path, original: Path, folder: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a child's processes are ended
    os.chdir(tree)
    sys.path[:1] = [str(tree / "lib"), str(tree)]
    os.environ["PYTHONPATH"] = str(tree / "lib")  # processes that tests start
    sys.dont_write_bytecode = (
        False  # whatever the environment says: else all modules are compiled anew for every change
    )
    for name in HEAVY:
        __import__(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(done(json.loads(line), tree, folder, original)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
