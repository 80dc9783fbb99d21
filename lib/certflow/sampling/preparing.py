"""From the module that was given to the network that is sampled: steps that make it fast, none of them trusted.

A chain of forms: as given in float32, settled (what a part knows is fixed goes into its weights), folded, channels last, fused,
in the stated precision, compiled. The logits of every form are compared with those of the module as given, in float32, on
probe images. A step that fails or changes the function is left out and named in `dropped`. The precision cannot be left out,
for it is what the model's owner stated: a model that cannot run in it is refused.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from certflow.errors import CertflowError, ConfigError, NonFiniteError
from certflow.files.private import keep_compilers_private
from certflow.models.agreement import TOLERANCE, agree
from certflow.models.base import Inference
from certflow.models.folding import fold_unchecked
from certflow.sampling.fusing import Traced, fuse
from certflow.sampling.group_norm import replace_group_norms
from certflow.sampling.outputs import Picked, find_logits
from certflow.sampling.probing import (
    ROWS,
    check_repeats,
    check_rows,
    first_line,
    generators_kept,
    probe_images,
    rows_for,
    run,
)
from certflow.sampling.settings import compiler_settings
from certflow.sampling.settling import settle

Shape = tuple[int, ...]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCES = {torch.float32: TOLERANCE, torch.bfloat16: 0.5, torch.float16: 0.5}
"""Largest difference from the module in float32, see `certflow.models.agreement`. Fewer bits are another function; what is
refused is one that has little to do with the module, such as after an overflow."""


@dataclass(frozen=True)
class Form:
    """One way to compute a module's logits: network(x - shift), in a precision and a layout of the images' memory."""

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
        return run(self.network, self.shown(x), _doing(self.dtype, x)).float()

    def agrees(self, wanted: torch.Tensor, x: torch.Tensor) -> bool:
        """Whether these are the logits `wanted`, up to the rounding of the precision."""
        return agree(wanted, self.logits(x), TOLERANCES[self.dtype], eps=torch.finfo(self.dtype).eps)

    def without(self, step: str) -> "Form":
        return replace(self, dropped=(*self.dropped, step))


def prepare(
    module: nn.Module, inference: Inference, *, shape: Shape, classes: int | None, device: torch.device, batch: int
) -> tuple[Form, int]:
    """The form that is sampled, on the device, and its number of classes; `module` is used up (see `certflow.sampling.taking`).

    batch: rows of the batches to come, for which a network is compiled. ValueError for a module that cannot be called on such
    images, whose logits cannot be used (`certflow.sampling.outputs`), that cannot run in the stated precision, or that is not
    one fixed function of a row (`certflow.sampling.probing`).
    """
    dtype = DTYPES[inference.precision]
    _refuse_complex(module, inference.precision)
    with generators_kept(device):
        first, x = _given(module, probe_images(rows_for(shape, batch), shape).to(device), classes)
        wanted = check_repeats(first.logits, x, first.network)
        if not bool(wanted.isfinite().all(dim=1).any()):
            raise NonFiniteError(
                f"the model's logits are NaN or infinite on all of {len(x)} noisy images; check its weights"
            )
        forms = [first]
        for name, step in _steps(inference, x).items():
            forms.append(_tried(forms[-1], name, step, wanted, x))
        form = _lowered(forms, dtype, wanted, x)
        if inference.compile:
            x = probe_images(batch, shape).to(device)
            form = _tried(form, "compile", partial(_compiled, device=device), form.logits(x), x)
        check_rows(form.logits, x, 1 - probe_images(len(x), shape, seed=1).to(device), dtype)
    return form, wanted.shape[1]


def _given(module: nn.Module, x: torch.Tensor, classes: int | None) -> tuple[Form, torch.Tensor]:
    """The module itself in float32, returning its logits and nothing else; and as many of the images as memory suffices for."""
    network = cast(module.to(x.device), torch.float32)
    try:
        output = run(network, x, _doing(torch.float32, x))
    except torch.OutOfMemoryError:
        if len(x) < 2 * ROWS:
            raise
        return _given(module, x[: len(x) // 2], classes)
    pick = find_logits(output, len(x), classes)
    return Form(network if pick is None else Picked(network, pick)), x


def _steps(inference: Inference, x: torch.Tensor) -> dict[str, Callable[[Form], Form | None]]:
    """What is tried on a network in float32, in this order; each step gives None where it finds nothing to do."""
    fused = inference.fold and x.device.type == "cpu" and not inference.compile and inference.precision != "float16"
    return {
        **({"settle": _settled, "fold": _folded} if inference.fold else {}),
        "channels_last": partial(_channels_last, ours=x.device.type == "cpu" and not inference.compile),
        **({"fuse": lambda form: _fused(form, x)} if fused else {}),  # compiling fuses by itself
    }


def _settled(form: Form) -> Form | None:
    network = settle(form.network)
    return None if network is None else replace(form, network=network)


def _folded(form: Form) -> Form | None:
    whole = fold_unchecked(form.network)
    return replace(form, network=whole.network, shift=whole.shift) if whole.folded else None


def _channels_last(form: Form, ours: bool) -> Form:
    """ours: with our own group normalisation where torch's is slow in this layout."""
    network = copy.deepcopy(form.network).to(memory_format=torch.channels_last)
    if ours:
        replace_group_norms(network)
    return replace(form, network=network, layout=torch.channels_last)


def _fused(form: Form, x: torch.Tensor) -> Form | None:
    network = fuse(form.network, form.shown(x))
    return None if network is None else replace(form, network=Traced(network))


def _tried(form: Form, name: str, step: Callable[[Form], Form | None], wanted: torch.Tensor, x: torch.Tensor) -> Form:
    """The form after a step, if it still computes what is wanted."""
    try:
        found = step(form)
        if found is None:
            return form
        return replace(found, done=(*form.done, name)) if found.agrees(wanted, x) else form.without(name)
    except (CertflowError, torch.OutOfMemoryError):
        raise
    # Foreign modules may raise anything when they are rewritten; such a module is sampled without the step.
    except Exception:
        return form.without(name)


def _lowered(forms: list[Form], dtype: torch.dtype, wanted: torch.Tensor, x: torch.Tensor) -> Form:
    """The last of the forms that can run in the precision; fused kernels need units that not every CPU has."""
    if dtype == torch.float32:
        return forms[-1]
    name, last = str(dtype)[6:], forms[-1]
    error: ValueError | None = None
    for form in reversed(forms):
        low = replace(form, network=cast(copy.deepcopy(form.network), dtype), dtype=dtype)
        try:
            if low.agrees(wanted, x):
                return replace(low, dropped=(*last.dropped, *(step for step in last.done if step not in form.done)))
        except ValueError as found:
            error = found
    if error is None:
        raise ValueError(
            f"the model's logits in {name} have little to do with those in float32 (an overflow, or numbers that need more "
            "digits); set precision: float32"
        )
    raise ValueError(
        f"the model runs in float32, but not in {name} ({first_line(error.__cause__)}); set precision: float32, or write it so "
        "that everything in it has the type of its input: no numpy, FFT or quantised layer, no `.float()` before weights"
    ) from error


def _compiled(form: Form, device: torch.device) -> Form:
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ConfigError(
            ["inference.compile: needs a C++ compiler (g++ or clang++) on the PATH; install one or set it to false"]
        )
    return replace(form, network=Compiled(form.network, device))


class Compiled:
    """A function as `torch.compile` makes it, for one shape of its arguments; it is compiled when it is first called."""

    def __init__(self, function: Callable, device: torch.device):
        keep_compilers_private()
        self.function, self.settings = torch.compile(function, dynamic=False), compiler_settings[device.type]

    def __call__(self, *arguments, **options):
        with self.settings():
            return self.function(*arguments, **options)


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with its floating-point parameters and buffers in `dtype`, in place. Complex ones have no such type: they
    become complex64, which belongs to float32, and are never cut to their real parts."""
    return network._apply(
        lambda t: t.to(dtype if t.is_floating_point() else torch.complex64 if t.is_complex() else t.dtype)
    )


def _refuse_complex(module: nn.Module, precision: str) -> None:
    names = [name for name, tensor in module.state_dict().items() if torch.is_tensor(tensor) and tensor.is_complex()]
    if names and precision != "float32":
        raise ValueError(
            f"the model has complex parameters or buffers ({', '.join(names[:3])}), for which there is no {precision}; set "
            "precision: float32"
        )


def _doing(dtype: torch.dtype, x: torch.Tensor) -> str:
    return f"the model cannot be called on {str(dtype)[6:]} images of shape {list(x.shape)}"
