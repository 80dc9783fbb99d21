"""Runs steps within a budget of time, keeps what each found, and goes on where an earlier run stopped."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tools.gpu.steps import ROOT, Step

MARGIN = 5.0
"""Seconds that ending a step may take, and the least that is worth starting one for."""

Record = dict[str, Any]
"""status (`done`, `failed`, `out of time`), seconds, command, commit, last_line, numbers (what its JSON holds, or None)."""


def run_all(steps: Iterable[Step], folder: Path, budget: float, commit: str) -> dict[str, Record]:
    """Name → record of every step that was begun, in this run or an earlier one; written after each to `folder`/gpu.json.

    budget: seconds of this run, steps and all. A step that is done, by the same command at the same commit, is not run again.
    """
    end = time.monotonic() + budget
    folder.mkdir(parents=True, exist_ok=True)
    records = kept(folder / "gpu.json")
    for step in _left(steps, records, commit):
        remaining = end - time.monotonic() - MARGIN
        if remaining < MARGIN:
            break
        print(f"{step.name}: at most {min(step.seconds, remaining):.0f} s", flush=True)
        records[step.name] = run(step, folder, min(step.seconds, remaining), commit)
        print(f"{step.name}: {records[step.name]['status']}, {records[step.name]['seconds']:.0f} s", flush=True)
        _write(folder / "gpu.json", records)
    return records


def kept(path: Path) -> dict[str, Record]:
    """The records of earlier runs; none where the file is not there or was cut off."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def _left(steps: Iterable[Step], records: dict[str, Record], commit: str) -> Iterator[Step]:
    for step in steps:
        known = records.get(step.name, {})
        if (known.get("status"), known.get("command"), known.get("commit")) == ("done", list(step.command), commit):
            print(f"{step.name}: done earlier", flush=True)
        else:
            yield step


def run(step: Step, folder: Path, seconds: float, commit: str) -> Record:
    """One step, ended with all that it started once its time is up. Its output is `folder`/<name>.log."""
    numbers, log = folder / f"{step.name}.json", folder / f"{step.name}.log"
    numbers.unlink(missing_ok=True)
    command = [part.replace("{json}", str(numbers.resolve())) for part in step.command]
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        status = _ended(command, step, output, seconds)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return {
        "status": status,
        "seconds": round(time.monotonic() - start, 1),
        "command": list(step.command),
        "commit": commit,
        "last_line": next((line for line in reversed(lines) if line.strip()), ""),
        "numbers": kept(numbers) or None,
    }


def _ended(command: list[str], step: Step, output, seconds: float) -> str:
    """How a command ended."""
    environment = {**os.environ, **step.environment}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return "done" if process.wait(seconds) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "out of time"
    finally:  # also when this program itself is stopped
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ask the process and its children to stop, and stop them where they do not in time."""
    for order, patience in ((signal.SIGTERM, MARGIN - 2), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            if order == signal.SIGTERM and not _alive(process.pid):
                return


def _alive(group: int) -> bool:
    """Has a process group still a process?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _write(path: Path, records: dict[str, Record]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
