"""Settings of the process, changed while some work needs them and given back afterwards.

Settings of torch and of the C library belong to the process, not to a call. So the first call that needs them notes what it
finds and changes them, calls within it and beside it (in other threads) find them changed, and the last one to end puts back
what the first one found, after errors too. Other work of the process sees the changed settings meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any


class Held:
    """Settings that are `change`d while anybody is inside; `restore` gets what `read` returned before."""

    def __init__(self, read: Callable[[], Any], change: Callable[[], Any], restore: Callable[[Any], Any]):
        self.read, self.change, self.restore = read, change, restore
        self.lock, self.inside, self.found = Lock(), 0, None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self.inside == 0:
                self.found = self.read()
                self.change()
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    self.restore(self.found)
