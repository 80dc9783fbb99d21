"""The steps that make a network fast, in their order: settled (what a part knows is fixed goes into its weights), folded,
channels last, fused; in the stated precision, convolutions by C code of ours where the model asks for it, or compiled. None is
trusted: `certflow.sampling.preparing` compares each form with the module as given.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from certflow.errors import ConfigError
from certflow.machine.compilers import keep_compilers_private
from certflow.machine.native import require
from certflow.models.base import Inference
from certflow.models.fast import winograd
from certflow.models.fast.folding import fold
from certflow.sampling.fast.convolutions import replace_convolutions
from certflow.sampling.fast.fusing import Traced, fuse
from certflow.sampling.fast.group_norm import replace_group_norms
from certflow.sampling.fast.settling import settle
from certflow.sampling.form import Form
from certflow.sampling.settings import compiler_settings

Step = Callable[[Form], Form | None]
"""A form → the next one, or None where there is nothing to do."""


def steps(inference: Inference, x: torch.Tensor) -> dict[str, Step]:
    """What is tried on a network in float32, in this order. x: images like those that it will get."""
    on_cpu = x.device.type == "cpu"
    fused = inference.fold and not inference.compile and not (on_cpu and inference.precision == "float16")
    # A GPU's kernels for whole float32, without TF32, want the channels first; torch rearranges images for each of them.
    last = on_cpu or inference.precision != "float32"
    return {
        **({"settle": _settled, "fold": _folded} if inference.fold else {}),
        **({"channels_last": partial(_channels_last, ours=on_cpu and not inference.compile)} if last else {}),
        **({"fuse": lambda form: _fused(form, x)} if fused else {}),  # compiling fuses by itself
    }


def _settled(form: Form) -> Form | None:
    network = settle(form.network)
    return None if network is None else replace(form, network=network)


def _folded(form: Form) -> Form | None:
    whole = fold(form.network)
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


def late_steps(inference: Inference, x: torch.Tensor) -> dict[str, Step]:
    """What is tried on a network in its precision. x: as in `steps`."""
    return {"native": partial(_native, x=x)} if inference.native and x.device.type == "cpu" else {}


def _native(form: Form, x: torch.Tensor) -> Form | None:
    """`ConfigError` where there is no compiler."""
    require(winograd.kernel(), "inference.native")
    network = copy.deepcopy(form.network)
    return replace(form, network=network) if replace_convolutions(network, form.shown(x)) else None


def compiled(form: Form, device: torch.device) -> Form:
    """The form as `torch.compile` makes it; `ConfigError` where there is no compiler."""
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
