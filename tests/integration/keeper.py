"""`python keeper.py PARENT COMMAND ...` runs a command and ends all that it started: no process of it outlives this one.

A daemon's children leave its session and process group, and a stopped process answers no polite signal. Therefore this process
adopts whatever its command leaves without a parent, and kills all its descendants: when the command has ended, when it is told
to end itself (SIGTERM, SIGINT, SIGHUP), or when process PARENT, which started it, ends in any way. SIGUSR1 kills the command
alone. Linux only, standard library only; no test in here.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

DEATH_SIGNAL, ADOPT = 1, 36
"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of prctl(2)."""
GRACE = 10
"""Seconds from SIGTERM to SIGKILL for the command itself."""
ORDERS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD}


def kept(*command: str) -> list[str]:
    """The command line that runs `command` under a keeper, for a caller that starts it in its main thread."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def descendants(ancestor: int) -> set[int]:
    """Processes below `ancestor`, with those that have ended and were not waited for."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: set[int] = set()
    level = {ancestor}
    while level:
        level = {process for process, parent in parents.items() if parent in level}
        found |= level
    return found


def main(parent: int, command: list[str]) -> int:
    """Run the command; its exit status, negative for a signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # they are waited for, so that none comes at a bad moment
    _control(ADOPT, 1)
    _control(DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before its end could be watched
        return -signal.SIGTERM
    process = subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()))
    while not _collected(process):
        order = signal.sigwait(ORDERS)
        if order == signal.SIGUSR1:
            process.kill()
        elif order != signal.SIGCHLD:
            _end(process)
    _end_descendants()
    return process.returncode


def _control(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _collected(process: subprocess.Popen) -> bool:
    """Whether the command has ended; collects the adopted processes that have."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return process.poll() is not None
        if ended is None or ended.si_pid == process.pid:
            return process.poll() is not None
        os.waitpid(ended.si_pid, 0)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_descendants() -> None:
    """Kill and collect until there are none: the children of a killed process come to this one."""
    while True:
        for process in descendants(os.getpid()):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    status = main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(status if status >= 0 else 128 - status)
