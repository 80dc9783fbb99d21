"""Python without the seconds that packages take to import: a script is a fork of one process that has torch and the like.

`python jobs.py ADDRESS SCRIPT` stands for `python SCRIPT`: it asks that process, which listens at the address, and ends as the
script does, which has its working directory, environment and standard streams. `python jobs.py serve ADDRESS` is that process.
Nothing of certflow is imported ahead, so that every script shows that it imports what it needs. No test in here.
"""

import atexit
import gc
import json
import os
import runpy
import select
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "torch.fx",
    "safetensors.torch",
    "pandas",
    "scipy.stats",
    "sklearn.datasets",
    "matplotlib.backends.backend_pdf",
    "pydantic",
    "snakemake.script",
)
"""What takes most of a job's time to import."""


def ask(address: str, script: str) -> int:
    """Run the script; its exit status."""
    call = {"script": script, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        socket.send_fds(line, [b"\n"], [0, 1, 2])
        line.sendall(json.dumps(call).encode() + b"\n")
        status = int(line.makefile().readline())
    return status if status >= 0 else 128 - status


def serve(address: str) -> None:
    """Answer until standard input ends, which it does with the process that started this one."""
    for name in PRELOADED:
        __import__(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        gc.freeze()  # what no fork looks at need not be copied for it
        while select.select([sys.stdin, listener], [], [])[0] == [listener]:
            line, _ = listener.accept()
            if not os.fork():
                listener.close()
                ended_by(lambda line=line: _answer(line))
            line.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _answer(line: socket.socket) -> None:
    """Let a fork be the script, and tell how it ended."""
    _, streams, _, _ = socket.recv_fds(line, 1, 3)
    call = json.loads(line.makefile().readline())
    script = os.fork()
    if script:
        line.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(script, 0)[1]))
        return
    line.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv, sys.path[0] = [call["script"]], str(Path(call["script"]).parent)
    ended_by(lambda: runpy.run_path(call["script"], run_name="__main__"))


def ended_by(work: Callable[[], object]) -> NoReturn:
    """Do the work and end as Python does, but for the second that it takes to clear away all that is imported."""
    status = 0
    try:
        work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[2]) if sys.argv[1] == "serve" else ask(*sys.argv[1:]))
