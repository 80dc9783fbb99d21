"""The helpers of the SLURM test: nothing outlives a keeper, and whoever makes a held file stops at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from holds import Holds
from keeper import descendants, kept

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="keepers need Linux's prctl and /proc")

DETACHED = """
import os, signal, sys
for number in range(2):  # a daemon, and one that is stopped as well
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        open(f"{sys.argv[1]}/{os.getpid()}", "x")
        if number:
            os.kill(os.getpid(), signal.SIGSTOP)
        signal.pause()
os.wait(), os.wait()
open(f"{sys.argv[1]}/ready", "x")
signal.pause()
"""


def until(ready):
    for _ in range(6000):
        if ready():
            return
        time.sleep(0.01)
    raise AssertionError("not within a minute")


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def detached(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


def started(folder: Path, through: list[str] | None = None) -> subprocess.Popen:
    """A keeper whose command has left two processes without a parent; `through`: the command that starts the keeper."""
    command = [sys.executable, "-c", DETACHED, str(folder)]
    keeper = subprocess.Popen([*through, *command] if through else kept(*command))
    until(lambda: len(detached(folder)) == 2 and (folder / "ready").exists())
    return keeper


@pytest.mark.parametrize(("order", "end"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGUSR1, signal.SIGKILL)])
def test_a_keeper_ends_detached_and_stopped_processes_too(tmp_path, order, end):
    keeper = started(tmp_path)
    assert descendants(keeper.pid) >= {*detached(tmp_path)}
    keeper.send_signal(order)
    assert keeper.wait(60) == 128 + end
    assert not any(map(lives, detached(tmp_path)))


def test_a_keeper_ends_all_when_its_own_parent_is_killed(tmp_path):
    starter = "import subprocess, sys; sys.path.insert(0, sys.argv[1]); from keeper import kept; "
    starter += "subprocess.run(kept(*sys.argv[2:]))"
    through = [sys.executable, "-c", starter, str(Path(__file__).parent)]
    parent = started(tmp_path, through)
    parent.kill()
    parent.wait()
    until(lambda: not any(map(lives, detached(tmp_path))))


def test_a_keeper_ends_with_the_status_of_its_command():
    assert subprocess.run(kept("sh", "-c", "exit 3")).returncode == 3


@pytest.mark.parametrize(
    ("where", "value", "stops"), [("", "", True), ("WHO=me", "me", True), ("WHO=me", "you", False)]
)
def test_the_process_that_makes_a_held_file_stops_there_and_then(tmp_path, where, value, stops):
    holds, path = Holds(tmp_path / "holds"), tmp_path / "state"
    holds.ask(path, where)
    code = "import os; open('part', 'x').close(); os.replace('part', 'state'); os.rename('state', 'end')"
    environment = {**os.environ, **holds.environment, "WHO": value}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    try:
        if stops:
            until(lambda: holds.stopped(path))
            assert path.exists() and holds.stopped(path) == process.pid
            holds.release(path)
        assert process.wait(60) == 0
        assert (tmp_path / "end").exists()
    finally:
        process.kill()
        process.wait()
