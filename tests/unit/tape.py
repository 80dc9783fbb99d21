"""What a CUDA graph does, acted out on the CPU: the operations of some work are noted once and repeated on the same memory.

Like a capture, noting runs nothing: what the work wrote is put back. Whatever is no operation on tensors, such as a Python
number that differs between calls, stays as it was when it was noted. Reading on the host is refused, as during a capture.
"""

from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from certflow.machine import replay
from certflow.noise.fast import native
from certflow.training.fast import frozen, repeated

READING = (
    "_local_scalar_dense",
    "item",
    "nonzero",
    "nonzero_numpy",
    "masked_select",
    "bincount",
    "is_nonzero",
    "_unique2",
    "equal",
)
"""Operations whose result the host must know before it can go on."""


def tensors(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Notes every operation, and what memory that is older than the tape held before it was written."""

    def __init__(self):
        super().__init__()
        self.operations, self.before, self.made = [], {}, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        masked = name.startswith("index") and any(t.dtype in (torch.bool, torch.uint8) for t in tensors(args[1:2]))
        if name in READING or masked:
            raise RuntimeError(f"the host waits for {name} during a capture")
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        for argument in function._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name in kwargs:
                self._keep(kwargs[argument.name])
        if "batch_norm" in name:  # writes its running statistics, and does not say so
            self._keep(args[3:5])
        result = function(*args, **kwargs)
        given = {place(tensor) for tensor in tensors((args, kwargs))}
        self.made |= {place(tensor) for tensor in tensors(result)} - given
        self.operations.append((function, args, kwargs, result))
        return result

    def _keep(self, value: object) -> None:
        for tensor in tensors(value):
            if place(tensor) not in self.made and place(tensor) not in self.before:
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self.before[place(tensor)] = (whole, whole.clone())

    @torch.no_grad()
    def rewind(self) -> None:
        for memory, content in self.before.values():
            memory.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, noted in self.operations:
            result = function(*args, **kwargs)
            given = {place(tensor) for tensor in tensors((args, kwargs))}
            for memory, value in zip(tensors(noted), tensors(result), strict=True):
                if place(memory) not in given:
                    memory.copy_(value)


def taped(work: Callable[[], None]) -> Callable[[], None]:
    """A `record` for `recorder`."""
    tape = Tape()
    try:
        with tape, torch.random.fork_rng(devices=[]):
            work()
    finally:
        tape.rewind()
    return tape.replay


def recorder(record: Callable[[Callable], Callable] | None) -> replay.Recorder:
    """A recorder of work on the CPU that makes of it what `record` does."""
    made = replay.Recorder(torch.device("cpu"))
    made.record = record
    return made


def record_steps(monkeypatch: pytest.MonkeyPatch, fewest: int) -> list:
    """Steps of epochs with at least `fewest` are repeated from recordings, as on a GPU. A list that gets every recording."""
    made = []

    def record(work):
        made.append(taped(work))
        return made[-1]

    monkeypatch.setattr(native, "_library", lambda: None)
    monkeypatch.setattr(frozen, "_fold_pays", lambda module, x: False)
    monkeypatch.setattr(repeated, "FEWEST_STEPS", fewest)
    monkeypatch.setattr(repeated, "Recorder", lambda device: recorder(record))
    return made
