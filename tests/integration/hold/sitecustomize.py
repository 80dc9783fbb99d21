"""Runs at the start of every Python under test (`tests/integration/holds.py`): stops the process that makes a certain file."""

import os
import signal

_held = os.environ.get("HOLDS")
_rename = os.rename


def _stopping(rename):
    def renamed(source, target, **options):
        rename(source, target, **options)
        request = os.path.join(_held, os.path.abspath(os.fsdecode(target)).replace("/", "%"))
        try:
            with open(request) as file:
                variable, _, value = file.read().partition("=")
            if os.environ.get(variable, "") != value:
                return
            _rename(request, f"{request}.{os.getpid()}")  # the request is now met: by this process and by no other
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGSTOP)

    return renamed


if _held:
    os.rename, os.replace = _stopping(os.rename), _stopping(os.replace)
