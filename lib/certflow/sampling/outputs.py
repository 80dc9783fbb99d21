"""Where a model's logits lie in what it returns: a tensor, or a tuple, a mapping or an object that holds one."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import torch
from torch import nn

NAME = "logits"
"""What most libraries call them."""
Pick = Callable[[Any], Any]


class Picked(nn.Module):
    """The logits of a network that returns more, or something else than a tensor."""

    def __init__(self, network: nn.Module, pick: Pick):
        super().__init__()
        self.network, self.pick = network, pick

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pick(self.network(x))


def find_logits(output: Any, rows: int, classes: int | None) -> Pick | None:
    """How to get the logits of `rows` images from what the model returned for them; None: they are what it returned.

    Taken is what is named `logits`; else the only tensor; else the only one of shape [rows, classes], where any number of
    classes from two on will do if it is not given. ValueError where that leaves none or several, and for logits that cannot be
    used, with what to do.
    """
    pick = None if isinstance(output, torch.Tensor) else _pick(output, rows, classes)
    _check(output if pick is None else pick(output), rows, classes)
    return pick


def _pick(output: Any, rows: int, classes: int | None) -> Pick:
    if isinstance(output, np.ndarray):
        return torch.as_tensor
    parts = _parts(output)
    if NAME in parts:
        return parts[NAME][0]
    fitting = {name: part for name, part in parts.items() if _fits(part[1], rows, classes)}
    for some in (parts, fitting):
        if len(some) == 1:
            return next(iter(some.values()))[0]
    shown = ", ".join(f"{name}: {list(value.shape)}" for name, (_, value) in parts.items()) or "no tensor at all"
    raise ValueError(
        f"the model returns a {type(output).__name__} ({shown}), in which no logits are found; give a function that "
        f"returns them alone, such as `lambda x: model(x){_example(output)}`"
    )


def _parts(output: Any) -> dict[str, tuple[Pick, torch.Tensor]]:
    """The tensors in an output by name, each with what takes it out."""
    if isinstance(output, Mapping):
        found = {str(key): (itemgetter(key), value) for key, value in output.items()}
    elif isinstance(output, Sequence):
        names = getattr(output, "_fields", range(len(output)))
        found = {str(name): (itemgetter(place), output[place]) for place, name in enumerate(names)}
    else:
        found = {name: (attrgetter(name), value) for name, value in getattr(output, "__dict__", {}).items()}
    return {name: part for name, part in found.items() if isinstance(part[1], torch.Tensor)}


def _fits(value: torch.Tensor, rows: int, classes: int | None) -> bool:
    return (
        value.dim() == 2
        and len(value) == rows
        and (value.shape[1] >= 2 if classes is None else value.shape[1] == classes)
    )


def _example(output: Any) -> str:
    return (
        f"[{next(iter(output), 'logits')!r}]"
        if isinstance(output, Mapping)
        else "[0]"
        if isinstance(output, Sequence)
        else ".logits"
    )


def _check(logits: torch.Tensor, rows: int, classes: int | None) -> None:
    """The logits must be real numbers [rows, classes], at least two for each image."""
    shape = list(logits.shape)
    if shape in ([rows], [rows, 1]) and not (logits.is_floating_point() or logits.is_complex()):
        raise ValueError(
            f"the model returns one whole number per image (shape {shape}), such as the number of a class; give a function "
            "that returns the logits, or 1 for that class and 0 for others: "
            "`lambda x: torch.nn.functional.one_hot(model(x).long().flatten(), number_of_classes)`"
        )
    if shape in ([rows], [rows, 1]):
        raise ValueError(
            f"the model returns one number per image (shape {shape}); smoothing needs a logit for each of at least two "
            "classes. For a logit z that is above 0 for class 1, give a function that returns [0, z]: "
            "`lambda x: torch.nn.functional.pad(model(x).reshape(-1, 1), (1, 0))`; for a probability take 0.5 off it first"
        )
    if len(shape) != 2 or shape[0] != rows:
        raise ValueError(
            f"the model must return logits [rows, classes], got shape {shape} for {rows} images; flatten what it returns to "
            "one row per image"
        )
    if logits.is_complex():
        raise ValueError(
            f"the model's logits are complex numbers ({logits.dtype}); return real ones, such as their absolute values"
        )
    if shape[1] < 2:
        raise ValueError("the model returns no logits; smoothing needs at least two classes")
    if classes is not None and shape[1] != classes:
        raise ValueError(f"the model returns {shape[1]} logits, the data have {classes} classes")
