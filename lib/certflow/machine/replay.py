"""The same work many times on the same memory: launched once as a CUDA graph instead of kernel by kernel.

A batch of a CIFAR ResNet-110 is over three hundred kernels of some microseconds each; the host cannot launch them as fast as
a GPU runs them. A graph is launched as one. `CERTFLOW_GRAPHS=0` turns graphs off; the kernels and their results are the same.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

WARM = 3
"""Calls before the capture: they do real work, while kernels are chosen, compiled and loaded and tables are made."""

Work = Callable[[], None]


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all work on a device: memory and workspaces that are kept for a stream serve no other."""
    return torch.cuda.Stream(device)


class Recorder:
    """Makes graphs of work on one device, on a stream beside the usual one.

    `record`: work → what repeats it, a capture on CUDA; None elsewhere: nothing is recorded.
    """

    def __init__(self, device: torch.device):
        self.stream = _stream(device) if device.type == "cuda" else None
        graphs = self.stream is not None and os.environ.get("CERTFLOW_GRAPHS") != "0"
        self.record: Callable[[Work], Work] | None = self._capture if graphs else None

    @contextmanager
    def streamed(self) -> Iterator[None]:
        """Where work is to be done, recorded or not, and its memory prepared and read: on one stream, after and before others.

        Capturing there finds the handles and workspaces that libraries keep for each stream.
        """
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def recorded(self, work: Work) -> Work | None:
        """What repeats the work, which is not done yet; None, with a line on stderr, where it cannot be recorded.

        `work` must do the same operations on the same memory at every call, read nothing on the host and leave its results in
        that memory.
        """
        if self.record is None:
            return None
        try:
            return self.record(work)
        except RuntimeError as error:
            memory = next((e for e in (error, error.__context__) if isinstance(e, torch.OutOfMemoryError)), None)
            if memory is not None:
                raise memory from None
            self.record = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"no CUDA graph of this work, it goes on kernel by kernel: {reason}", file=sys.stderr, flush=True)
            return None

    def _capture(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # Other threads go on meanwhile: those that pin memory for a loader, or watch over processes that train together.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


class Replayed:
    """Calls of `work`: the first few as they are, from then on by what `recorder` made of it, if it makes anything."""

    def __init__(self, work: Work, recorder: Recorder):
        self.work, self.recorder, self.calls, self.replay = work, recorder, 0, None

    def __call__(self) -> None:
        if self.replay is None and self.recorder.record is not None and self.calls >= WARM:
            self.replay = self.recorder.recorded(self.work)
        self.calls += 1
        (self.replay or self.work)()
