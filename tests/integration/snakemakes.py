"""Snakemake's command line without the seconds that Python takes to import it: every call is a fork of one process that has.

A call has the working directory, environment and output of its own, as `python -m snakemake` has; its jobs are forks as well
(`jobs.py`). Run as a script, this file is that process: it reads calls, one JSON object a line, and answers each with the
number of its process, then its exit code.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from jobs import ended_by

ROOT = Path(__file__).resolve().parents[2]
JOBS = str(Path(__file__).resolve().with_name("jobs.py"))
PRELOADED = (
    "snakemake.cli",
    "snakemake_executor_plugin_slurm",
    "smart_open",
    "certflow.config",
    "certflow.workflow.inputs",
)
"""What every call imports."""


def snakemake_process(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """What `subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=folder)` gives, output as text."""
    asked, answers = _server().stdin, _server().stdout
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        call = {"arguments": arguments, "folder": str(folder), "environment": dict(os.environ)}
        call["python"] = None if "-n" in arguments else _jobs()[0]
        asked.write(json.dumps({**call, "output": output.name, "errors": errors.name}) + "\n")
        asked.flush()
        process, code = answers.readline(), ""
        try:
            code = answers.readline()
        finally:
            if not code:  # the test was ended while it waited
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
                answers.readline()
        return subprocess.CompletedProcess(arguments, int(code), output.read(), errors.read())


@cache
def _server() -> subprocess.Popen:
    """The process that has imported Snakemake; it ends with this one, as nobody writes to it any more."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True)


@cache
def _jobs() -> tuple[str, subprocess.Popen]:
    """The program that stands for Python in jobs, and the process behind it, which ends with this one."""
    folder = Path(tempfile.mkdtemp(prefix="jobs"))
    address, program, pipe = str(folder / "address"), folder / "python", subprocess.PIPE
    atexit.register(shutil.rmtree, folder)
    server = subprocess.Popen([sys.executable, JOBS, "serve", address], stdin=pipe, stdout=pipe, text=True)
    assert server.stdout.readline() == "ready\n"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {JOBS} {address} "$@"\n')
    program.chmod(0o755)
    return str(program), server


def _called(
    arguments: list[str], folder: str, environment: dict[str, str], output: str, errors: str, python: str | None
) -> None:
    """Be Snakemake, from here on."""
    sys.executable = python or sys.executable  # Snakemake runs scripts by it
    for number, name in ((0, os.devnull), (1, output), (2, errors)):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder]
    sys.argv = ["snakemake", *arguments]
    sys.modules["snakemake.cli"].main()


def _serve() -> None:
    for name in PRELOADED:
        __import__(name)
    sys.modules["snakemake.cli"].get_argument_parser()  # imports the plugins
    for line in sys.stdin:
        child = os.fork()
        if not child:
            ended_by(lambda line=line: _called(**json.loads(line)))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
