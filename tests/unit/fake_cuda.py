"""A CUDA device without a GPU: tensors that have a device, a type and a shape but no values (torch's fake tensors).

Operations are checked as a GPU would: no host tensor among device tensors, not even a number in a tensor (a graph would keep
its first value); and what waits for the device cannot be done at all, since there are no values to read. Copies between host
and device are counted. Gradients are zeros of the right shape: torch's backward pass wants a real device.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from certflow.machine.replay import Recorder
from certflow.training.fast import repeated

COPIES = ("_to_copy", "copy_", "copy", "set_", "_copy_from", "lift_fresh", "lift_fresh_copy", "detach")


def devices(value: object) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)}


class Watch(TorchDispatchMode):
    """Refuses operations on tensors of both devices; `copies` are the transfers between them, as (from, to)."""

    def __init__(self):
        super().__init__()
        self.copies: list[tuple[str, str]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, given = function.overloadpacket.__name__, devices((args, kwargs))
        if name not in COPIES and len(given) > 1:
            raise AssertionError(f"{function} on tensors of {sorted(given)}")
        if name == "_fused_sgd_":  # has no fake form
            return _alike(*args[:3])
        result = function(*args, **kwargs)
        made = devices(result)
        if name in ("copy_", "_to_copy") and len(given | made) > 1:
            source = args[1] if name == "copy_" else args[0]
            self.copies.append((source.device.type, *made))
        return result


def _alike(*lists: list[torch.Tensor]) -> None:
    """What torch's fused optimisers demand on CUDA: parameters, gradients and state of equal type, size and layout."""
    for tensors in zip(*(tensors for tensors in lists if tensors), strict=True):
        layouts = {tuple(s for s, n in zip(t.stride(), t.shape, strict=True) if n != 1) for t in tensors}
        assert len({(t.dtype, t.shape) for t in tensors}) == 1 == len(layouts)


@cache
def _mode() -> FakeTensorMode:
    """One for all tests: each that is made reads the source of all that is being called, pytest's, too."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def fake_cuda() -> Iterator[Watch]:
    """Within, `device="cuda"` works without values. What caches tables on the device must be cleared by the caller."""
    with ExitStack() as stack:
        stack.enter_context(_mode())
        for target, name, stand_in in (
            (torch.nn.Module, "_apply", _apply),
            (torch.autograd, "grad", _grad),
            (torch.Tensor, "backward", _backward),
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch.cuda, "is_bf16_supported", lambda: True),
            (repeated, "Recorder", lambda device: Recorder(torch.device("cpu"))),  # there are no streams
        ):
            stack.enter_context(mock.patch.object(target, name, stand_in))
        yield stack.enter_context(Watch())


def _grad(outputs: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor]:
    assert outputs.dim() == 0 and inputs in leaves(outputs)
    return (torch.zeros_like(inputs, requires_grad=False),)


def _backward(tensor: torch.Tensor) -> None:
    assert tensor.dim() == 0
    for leaf in leaves(tensor):
        leaf.grad = torch.zeros_like(leaf, requires_grad=False)


class leaves:
    """The tensors that a result's gradient reaches."""

    def __init__(self, tensor: torch.Tensor):
        self.found, seen, waiting = [], set(), [tensor.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                self.found.append(node.variable)
            waiting += [following for following, _ in node.next_functions]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.found)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return any(leaf is tensor for leaf in self.found)


def _apply(module: torch.nn.Module, function, recurse: bool = True) -> torch.nn.Module:
    """Torch exchanges fake parameters in place, which fails while anything else refers to them; here they are replaced."""
    for child in module.children() if recurse else ():
        child._apply(function)
    with torch.no_grad():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(function(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
    return module
