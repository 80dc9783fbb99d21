"""A private copy of whatever was given as a model: a module, TorchScript, an exported program or a plain function."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from certflow.errors import short_of_memory

COPYING = "wrap it in a function, which is not copied: `lambda x: model(x)`, after model.eval()"


class Function(nn.Module):
    """A plain function of images as a module. What it uses inside is neither copied nor moved nor cast."""

    def __init__(self, function: Callable[[torch.Tensor], Any]):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)

    def __deepcopy__(self, memo: dict) -> "Function":
        return Function(self.function)


def take(model: Any) -> nn.Module:
    """A copy of the model in eval mode, without gradients; the model itself is not changed.

    TypeError for what cannot be called. ValueError, naming the parts, for what stays in training mode, for denoisers without a
    fixed noise level, for normalisation by the batch, for tensors without values, and for what cannot be copied.
    """
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if not isinstance(model, nn.Module):
        return _taken_function(model)
    named = [*model.named_parameters(), *model.named_buffers()]
    lazy = [name for name, tensor in named if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"the model has layers whose size is not known yet ({', '.join(lazy[:3])}); call it once on images, or load its "
            "weights"
        )
    empty = [name for name, tensor in named if tensor.is_meta]
    if empty:
        raise ValueError(
            f"the model holds no values yet ({', '.join(empty[:3])} on the device meta); load its weights first, such as by "
            "load_state_dict(..., assign=True)"
        )
    network = _copied(model)
    fixed = _evaluating(network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    if not fixed:
        _refuse(network, _trains, "the model has parts that stay in training mode after .eval(): {}")
    _refuse(
        network,
        _follows_noise,
        "parts of the model take a noise level that is not fixed, so it is not one function: {}; build the denoiser with a "
        "condition",
    )
    _refuse(
        network,
        _mixes_rows,
        "the model normalises by the batch it sees, so rows are not independent: {}; train it with "
        "track_running_stats=True, or with normalisation of each image by itself (GroupNorm, LayerNorm)",
    )
    return network


def _taken_function(function: Any) -> nn.Module:
    if isinstance(function, Mapping):
        raise TypeError(
            "the model is a mapping, such as a state dict: load it into a network (`load_state_dict`) and give that"
        )
    if inspect.isclass(function):
        raise TypeError(f"the model is the class {function.__name__}; give an instance of it, with its weights loaded")
    if not callable(function):
        raise TypeError(
            f"the model must be a module, or a function from images to logits, got {type(function).__name__}"
        )
    for name, module in _used(function):
        if any(part.training for part in module.modules()):
            raise ValueError(f"the function uses {name}, which is in training mode; call {name}.eval() first")
    return Function(function)


def _used(function: Any) -> Iterator[tuple[str, nn.Module]]:
    """Modules that a function is bound to, was made with, or names."""
    found: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        yield from _used(function.func)
        found |= {f"argument {place}": value for place, value in enumerate(function.args)} | function.keywords
    if inspect.ismethod(function):
        found["the object it belongs to"] = function.__self__
        function = function.__func__
    if inspect.isfunction(function):
        named = inspect.getclosurevars(function)
        found |= {**named.globals, **named.nonlocals}
    elif not inspect.isbuiltin(function):
        found |= getattr(function, "__dict__", {})
    yield from ((name, value) for name, value in found.items() if isinstance(value, nn.Module))


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy. Tensors that were computed from parameters are copied as plain values, which torch refuses by itself: they
    lie in modules with `torch.nn.utils.weight_norm` or `spectral_norm`, and are made anew at every call."""
    memo = {id(tensor): tensor.detach().clone() for module in model.modules() for tensor in _computed(vars(module))}
    try:
        with torch.no_grad():  # TorchScript would note the copying of its parameters
            return copy.deepcopy(model, memo)
    except Exception as error:  # a model may hold anything: locks, open files, handles of other libraries
        if short_of_memory(error):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"the model cannot be copied ({type(error).__name__}: {reason}); {COPYING}") from error


def _computed(values: Any) -> Iterator[torch.Tensor]:
    """Tensors with a gradient history, in attributes or containers of them."""
    if isinstance(values, torch.Tensor):
        if values.requires_grad and not values.is_leaf:
            yield values
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _computed(value)


def _evaluating(network: nn.Module) -> bool:
    """Put the network in eval mode; whether it has no such modes because it is a fixed program (`torch.export`)."""
    try:
        network.eval()
    except NotImplementedError:
        return True
    return False


def _refuse(network: nn.Module, wrong: Callable[[nn.Module], bool], message: str) -> None:
    names = [name or "the model itself" for name, part in network.named_modules() if wrong(part)]
    if names:
        raise ValueError(message.format(", ".join(names[:3])))


def _trains(part: nn.Module) -> bool:
    return bool(getattr(part, "training", False))  # a frozen TorchScript module has no modes


def _mixes_rows(part: nn.Module) -> bool:
    """Batch normalisation without stored statistics: what a row gives depends on the rows beside it."""
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None


def _follows_noise(part: nn.Module) -> bool:
    """A denoiser that has not been given, once and for all, the noise level it takes (see `certflow.denoising.denoiser`)."""
    return not getattr(part, "condition_is_frozen", True)
