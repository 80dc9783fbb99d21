"""From the module that was given to the network that is sampled, and a proof that both are one function.

A chain of forms: as given in float32, then after each step that makes it fast (`certflow.sampling.fast.steps`), in the stated
precision, then after the steps that need that. On probe images the logits of every form up to the stated precision are
compared with those of the module as given, in float32; those after it with the form before. A step that fails or changes
the function is left out and named in `dropped`. The precision cannot be left out, for it is what the model's owner stated: a
model that cannot run in it is refused.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from certflow.errors import CertflowError, NonFiniteError, short_of_memory
from certflow.models.agreement import TOLERANCE, agree, difference
from certflow.models.base import Inference
from certflow.sampling.fast.steps import Step, compiled, late_steps, steps
from certflow.sampling.form import DTYPES, Form, cast, doing
from certflow.sampling.outputs import Picked, find_logits
from certflow.sampling.probing import (
    COMPANY,
    ROWS,
    check_repeats,
    check_rows,
    company_images,
    first_line,
    generators_kept,
    near,
    probe_images,
    rows_for,
    run,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Witness:
    """How a form answered before anything was counted: images, and its logits of them."""

    x: torch.Tensor
    logits: torch.Tensor

    def require(self, form: Form, batch: int) -> None:
        """ValueError where the form does not answer so any more: votes since then are not those of one function.

        batch: the largest number of rows for which memory suffices by now.
        """
        with generators_kept(self.x.device):
            now = torch.cat([form.logits(part) for part in self.x.split(batch)])
        if not near(self.logits, now, form.dtype):  # not to the bit: another thread may have other settings
            raise ValueError(
                "the model has changed while it was called: its logits of the same images are others than before, so nothing "
                "is certified; smoothing needs one fixed function, which does not learn, adapt or remember from call to call"
            )


def prepare(
    module: nn.Module, inference: Inference, *, shape: Shape, classes: int | None, device: torch.device, batch: int
) -> tuple[Form, Witness]:
    """The form that is sampled, on the device, and how it answers; `module` is used up (see `certflow.sampling.taking`).

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
                f"the model's logits are NaN or infinite on all of {len(x)} noisy images; check its weights, and give "
                "classes that it must not choose a finite logit, such as -1e4"
            )
        forms = [first]
        for name, step in steps(inference, x).items():
            forms.append(_tried(forms[-1], name, step, lambda found: found.agrees(wanted, x)))
        form = _lowered(forms, dtype, wanted, x)
        error = difference(wanted, form.logits(x))
        for name, step in late_steps(inference, x).items():
            form = _tried(form, name, step, _as_before(form, error, x))
        if inference.compile:
            x = probe_images(batch, shape).to(device)
            form = _tried(form, "compile", partial(compiled, device=device), _as_before(form, error, x))
        logits = check_rows(form.logits, x, company_images(len(x), shape).to(device), dtype)
    return form, Witness(x, logits)


def _given(module: nn.Module, x: torch.Tensor, classes: int | None) -> tuple[Form, torch.Tensor]:
    """The module itself in float32, returning its logits and nothing else; and as many of the images as memory suffices for."""
    network = cast(module.to(x.device), torch.float32)
    try:
        output = run(network, x, doing(torch.float32, x))
    except Exception as error:
        if len(x) < 2 * ROWS or not short_of_memory(error):
            raise
        return _given(module, x[: len(x) // 2], classes)
    pick = find_logits(output, len(x), classes)
    return Form(network if pick is None else Picked(network, pick)), x


def _as_before(form: Form, error: float, x: torch.Tensor) -> Callable[[Form], bool]:
    """Whether a form computes what `form` did in the same precision, up to twice what that has cost (`error`)."""
    logits = form.logits(x)
    tolerance = max(TOLERANCE, COMPANY[form.dtype], 2 * error)
    return lambda found: agree(logits, found.logits(x), tolerance, eps=torch.finfo(form.dtype).eps, roundings=4)


def _tried(form: Form, name: str, step: Step, right: Callable[[Form], bool]) -> Form:
    """The form after a step, if that is right."""
    try:
        found = step(form)
        if found is None:
            return form
        return replace(found, done=(*form.done, name)) if right(found) else form.without(name)
    except CertflowError:
        raise
    # Foreign modules may raise anything when they are rewritten; such a module is sampled without the step.
    except Exception as error:
        if short_of_memory(error):  # with more of it the step would be done, and last bits differ
            raise
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


def _refuse_complex(module: nn.Module, precision: str) -> None:
    names = [name for name, tensor in module.state_dict().items() if torch.is_tensor(tensor) and tensor.is_complex()]
    if names and precision != "float32":
        raise ValueError(
            f"the model has complex parameters or buffers ({', '.join(names[:3])}), for which there is no {precision}; set "
            "precision: float32"
        )
