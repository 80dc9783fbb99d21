"""The gradient of a mini-batch as a CUDA graph: an epoch's steps are the same operations on other images.

A ResNet-110's step is over a thousand kernels, launched one by one in more time than the GPU takes for them; a graph of the
step is made anew for every epoch and law of noise, which the operations depend on, and launched as one.
"""

from dataclasses import replace
from typing import Any

import torch

from certflow.machine.replay import WARM, Recorder, Work
from certflow.training.base import MethodSpec
from certflow.training.batch import Batch

FEWEST_STEPS = 20
"""Steps of an epoch below which a graph is not worth making."""

Stats = dict[str, torch.Tensor]


class RepeatedStep:
    """`method.step`, replayed from a recording where the mini-batch is like the one before.

    `clear` forgets the gradients. steps: mini-batches of an epoch.
    """

    def __init__(self, method: MethodSpec, model: torch.nn.Module, clear: Any, steps: int):
        self.method, self.clear = method, clear
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.recorder = Recorder(next((parameter.device for parameter in model.parameters()), torch.device("cpu")))
        self.worth = method.repeats and steps >= FEWEST_STEPS
        self.taken, self.size = 0, 0
        self.last: tuple[Any, ...] | None = None
        self.replay: Work | None = None
        self.gradients: list[torch.Tensor | None] = []
        self.stats: Stats = {}

    def __call__(self, batch: Batch) -> Stats:
        """As `MethodSpec.step`, clearing the gradients before; the statistics are not overwritten later."""
        self.taken += 1
        self.size = max(self.size, len(batch.y))
        usual = self.worth and self.recorder.record is not None and len(batch.y) == self.size
        kind = (batch.epoch, batch.noise_spec, self.size)
        if usual and kind != self.last:
            self.last, self.replay = kind, None
        elif usual and self.replay is None and self.taken > WARM:
            self._record(batch)
        if not usual or self.replay is None:
            self.clear()
            return self.method.step(batch)
        for name in ("x", "y", "index"):
            getattr(self.inputs, name).copy_(getattr(batch, name))
        self.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # a smaller batch may have put another one there
        return {name: value.clone() for name, value in self.stats.items()}

    def _record(self, batch: Batch) -> None:
        """Prepare `replay` for mini-batches like this one; it fills `gradients` and `stats` from `inputs`."""
        self.gradients, self.stats = [], {}  # the memory of the graph before
        self.inputs = replace(batch, x=batch.x.clone(), y=batch.y.clone(), index=batch.index.clone(), recorded=True)
        self.replay = self.recorder.recorded(self._work)
        self.gradients = [parameter.grad for parameter in self.parameters]

    def _work(self) -> None:
        self.clear()
        self.stats = self.method.step(self.inputs)
