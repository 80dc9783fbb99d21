"""One way to compute a module's logits, and how far two ways may lie apart."""

from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import nn

from certflow.models.agreement import TOLERANCE, agree
from certflow.models.base import Precision
from certflow.sampling.probing import run

DTYPES: dict[Precision, torch.dtype] = {name: getattr(torch, name) for name in get_args(Precision)}
TOLERANCES = {torch.float32: TOLERANCE, torch.bfloat16: 0.5, torch.float16: 0.5}
"""Largest difference from the module in float32, see `certflow.models.agreement`. Fewer bits are another function; what is
refused is one that has little to do with the module, such as after an overflow."""


@dataclass(frozen=True)
class Form:
    """network(x - shift), in a precision and a layout of the images' memory."""

    network: Any
    """A module from images to logits; compiled, a function."""
    shift: torch.Tensor | None = None
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.contiguous_format
    done: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def shown(self, x: torch.Tensor) -> torch.Tensor:
        """Noisy images less `shift`, float32, as the network gets them."""
        return x.to(self.dtype, memory_format=self.layout)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [rows, classes] of noisy images float32 [rows, *shape]. ValueError where the network fails."""
        x = x if self.shift is None else x - self.shift
        return run(self.network, self.shown(x), doing(self.dtype, x)).float()

    def agrees(self, wanted: torch.Tensor, x: torch.Tensor) -> bool:
        """Whether these are the logits `wanted`, up to the rounding of the precision."""
        return agree(wanted, self.logits(x), TOLERANCES[self.dtype], eps=torch.finfo(self.dtype).eps)

    def without(self, step: str) -> "Form":
        """The same, with the note that a step was left out."""
        return replace(self, dropped=(*self.dropped, step))


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with its floating-point parameters and buffers in `dtype`, in place. Complex ones have no such type: they
    become complex64, which belongs to float32, and are never cut to their real parts."""
    return network._apply(
        lambda t: t.to(dtype if t.is_floating_point() else torch.complex64 if t.is_complex() else t.dtype)
    )


def doing(dtype: torch.dtype, x: torch.Tensor) -> str:
    """What was tried, in the words of an error."""
    return f"the model cannot be called on {str(dtype)[6:]} images of shape {list(x.shape)}"
