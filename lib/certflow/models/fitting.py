"""Putting stored weights into a network, or saying exactly why they do not belong there."""

from collections.abc import Mapping
from pathlib import Path

import torch

from certflow.errors import ArtefactError

SHOWN = 4
"""Keys of one kind that a message names; the rest are counted."""


def fit(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str | Path, *, exact: bool) -> None:
    """Load `state` into `module` in place: every key, no other, in the right shape and finite.

    exact: tensors take the place of the module's own with their dtype and bits; otherwise their values are copied into the
    module's dtype. An `ArtefactError` names the file, the keys and the likely cause.
    """
    wanted = require_fit(module, state, path)
    for key, tensor in state.items():
        _check_values(path, key, tensor, wanted[key].dtype)
    module.load_state_dict(dict(state), assign=exact)


def require_fit(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str | Path
) -> Mapping[str, torch.Tensor]:
    """The module's own tensors; an `ArtefactError` as of `fit` where `state` has others or other shapes.

    No value is looked at: the module may be an outline.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    surplus = [key for key in state if key not in wanted]
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or surplus or shapes:
        details = [
            *_listed("lacks", missing),
            *_listed("has in addition", surplus),
            *(f"{key} is {list(state[key].shape)}, needed {list(wanted[key].shape)}" for key in shapes[:SHOWN]),
        ]
        cause = _cause(module, missing, surplus, shapes, state)
        raise ArtefactError(f"{path}: its weights do not fit the network: {'; '.join(details)}. {cause}")
    return wanted


def _check_values(path: str | Path, key: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    """Values must be finite, and stay what they are as `dtype`, up to rounding."""
    if tensor.is_complex() and not dtype.is_complex:
        raise ArtefactError(
            f"{path}: {key} holds complex numbers, the network has real ones there; the imaginary parts would be lost"
        )
    if (dtype.is_floating_point or dtype.is_complex) and not (tensor.is_floating_point() or tensor.is_complex()):
        raise ArtefactError(
            f"{path}: {key} holds {tensor.dtype} numbers, the network needs {dtype}; a quantised model must be stored with its "
            f"weights in floating point"
        )
    if tensor.is_floating_point() or tensor.is_complex():
        wide = tensor.float() if tensor.element_size() == 1 else tensor  # not all operations know numbers of 8 bits
        if not bool(wide.isfinite().all()):
            raise ArtefactError(f"{path}: {key} holds values that are NaN or infinite; the model cannot be used")
        if not (dtype.is_floating_point or dtype.is_complex) and not torch.equal(wide, wide.to(dtype).to(wide.dtype)):
            raise ArtefactError(f"{path}: {key} holds fractions, the network needs {dtype}; take another file")


def head(module: torch.nn.Module) -> str | None:
    """Key of the weight of the last linear layer, whose rows are the classes; None where there is no such layer."""
    names = [name for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)]
    return f"{names[-1]}.weight" if names else None


def _listed(verb: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return [f"{verb} {', '.join(keys[:SHOWN])}{more}"]


def _cause(
    module: torch.nn.Module,
    missing: list[str],
    surplus: list[str],
    shapes: list[str],
    state: Mapping[str, torch.Tensor],
) -> str:
    last = head(module)
    if not missing and not surplus and last is not None and {key.rpartition(".")[0] for key in shapes} == {last[:-7]}:
        return (
            f"Likely cause: the file's model has {len(state[last])} classes; give that number (folders of images: with "
            f"class_index or class_names), choose some of its outputs (outputs), or take another file"
        )
    if not missing and not shapes:
        return (
            f"All weights of the network are there. If the rest does not belong to the classifier (a loss, a metric, another "
            f"network), leave it out: leave_out: {list(dict.fromkeys(map(_pattern, surplus)))}"
        )
    if not missing and not surplus:
        return "Likely cause: another width, or images of another shape; name the model that the file was made from"
    return "Likely cause: another architecture or depth; name the model that the file was made from"


def _pattern(key: str) -> str:
    """A pattern for everything beside a key."""
    return f"{key.partition('.')[0]}.*" if "." in key else key
