"""The same work many times on the same memory: launched once as a CUDA graph instead of kernel by kernel.

A batch of a CIFAR ResNet-110 is over three hundred kernels of some microseconds each; the host cannot launch them as fast as
a GPU runs them. A graph is launched as one. `CERTFLOW_GRAPHS=0` turns graphs off; the kernels and their results are the same.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

WARM = 3
"""Calls before the capture: they do real work, while kernels are chosen, compiled and loaded and tables are made."""

Work = Callable[[], None]


class Replayed:
    """Calls of `work`: the first few as they are, from then on by what `record(work)` returned.

    `work` must do the same operations on the same memory at every call, read nothing on the host and leave its results in that
    memory. Where it cannot be recorded it goes on as it is, with a line on stderr. record: None never records; by default
    a capture on CUDA and nothing elsewhere. All calls are to be made within `streamed`.
    """

    def __init__(self, work: Work, device: torch.device, record: Callable[[Work], Work] | None | str = "auto"):
        self.work, self.calls, self.replay = work, 0, None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        graphs = self.stream is not None and os.environ.get("CERTFLOW_GRAPHS") != "0"
        self.record = (self._capture if graphs else None) if record == "auto" else record

    def __call__(self) -> None:
        if self.record is not None and self.replay is None and self.calls >= WARM:
            self._record()
        self.calls += 1
        (self.replay or self.work)()

    @contextmanager
    def streamed(self) -> Iterator[None]:
        """Where calls are to be made, and what prepares and reads their memory: on one stream, after and before other work."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)

    def _record(self) -> None:
        try:
            self.replay = self.record(self.work)
        except RuntimeError as error:
            memory = next((e for e in (error, error.__context__) if isinstance(e, torch.OutOfMemoryError)), None)
            if memory is not None:
                raise memory from None
            self.record = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"no CUDA graph of this work, it goes on kernel by kernel: {reason}", file=sys.stderr, flush=True)

    def _capture(self, work: Work) -> Work:
        """The calls before were made on the stream of the capture: its libraries' handles and workspaces exist."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay
