"""Tensors from weight files made elsewhere: safetensors, or PyTorch's own format read without running anything in it."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lib.errors import ArtefactError

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Where training scripts put the weights, next to epoch numbers and optimisers; looked for in this order."""


class _Ignored:
    """Stands for something in a file that is not weights. Whatever it is made from is dropped, so nothing of it is run."""

    def __init__(self, *arguments: Any, **settings: Any):
        del arguments, settings

    def __setstate__(self, state: Any) -> None:
        del state


_HARMLESS = [
    f"numpy.{name}"
    for name in (
        "core.multiarray.scalar",
        "_core.multiarray.scalar",
        "core.multiarray._reconstruct",
        "_core.multiarray._reconstruct",
        "ndarray",
        "dtype",
    )
]
"""Names under which numpy numbers (a best accuracy, a loss) lie in published files. None of numpy's code is called for them."""


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a weight file by name, on the CPU, in the file's order and dtypes.

    The format is told by the content, not by the name: safetensors, or `torch.save` (both of its formats) of a mapping from
    names to tensors, bare or under one of `CONTAINERS`. Raises `ArtefactError` for a missing or damaged file, and for one that
    can only be read by unpickling objects, which could run any code.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        return load_file(path) if start[8:] == b"{" else _tensors(_torch_load(path), path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtefactError(
            f"{path}: cannot be read, it is damaged or no weight file ({_first_line(error)})"
        ) from error


def _torch_load(path: Path) -> Any:
    with torch.serialization.safe_globals([(_Ignored, name) for name in _HARMLESS]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The mapping from names to tensors, found at the top or in a container."""
    if isinstance(content, Mapping):
        for candidate in (content, *(content[name] for name in CONTAINERS if name in content)):
            tensors = _only_tensors(candidate)
            if tensors:
                return tensors
        found = ", ".join(str(key) for key in list(content)[:8]) or "nothing"
        raise ArtefactError(f"{path}: holds no weights; its entries are {found}, looked for {', '.join(CONTAINERS)}")
    raise ArtefactError(f"{path}: holds a {type(content).__name__}, not a mapping from names to tensors")


def _only_tensors(candidate: Any) -> dict[str, torch.Tensor]:
    """The tensors of a mapping whose keys are dotted names, as states of modules have them; else nothing."""
    if not isinstance(candidate, Mapping):
        return {}
    return {
        key: value.detach()
        for key, value in candidate.items()
        if isinstance(key, str) and "." in key and isinstance(value, torch.Tensor)
    }


def _refusal(path: Path, error: pickle.UnpicklingError) -> ArtefactError:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named is None:
        return ArtefactError(f"{path}: cannot be read, it is damaged or no weight file ({_first_line(error)})")
    return ArtefactError(
        f"{path}: needs the Python object {named[1]} to be unpickled, which could run any code, so it is refused. Convert the "
        f'file where it was made, if you trust it: torch.save(model.state_dict(), "weights.pth")'
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
