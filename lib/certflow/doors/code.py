"""A model from the user's own Python code, which is run: for the command line only."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from certflow.doors.bring import Brought
from certflow.errors import DataError
from certflow.files.intact import file_digest
from certflow.kinds.spec import digest

WRITTEN = "module:function, such as mypackage.models:build; the function takes nothing and returns the model"


def from_python(place: str) -> Brought:
    """The model that a function of the user's own code returns. Runs that code, so for the command line only.

    place: `module:function`; modules are looked for in the working directory too. DataError where there is no such module or
    function, where the code raises an error, and where what it returns is not a model.
    """
    name, _, attribute = place.partition(":")
    if not name or not attribute:
        raise DataError(f"{place}: is not a place in Python code; write {WRITTEN}")
    if Path(name).is_file():
        raise DataError(
            f"{place}: names a file; start in its folder and write its module: {Path(name).stem}:{attribute}"
        )
    build = getattr(_module(name, place), attribute, None)
    if not callable(build):
        raise DataError(f"{place}: module {name} has no function {attribute}; write {WRITTEN}")
    if isinstance(build, torch.nn.Module):
        model = build
    else:
        _require_no_arguments(build, place)
        model = _run(build, place)
    if not callable(model):
        raise DataError(
            f"{place}: returned a {type(model).__name__}; it must return a torch module or a function of images"
        )
    file = getattr(sys.modules[name], "__file__", None)
    return Brought(model=model, source="python", name=place, digest=file_digest(file) if file else digest(place))


def _require_no_arguments(build: Callable[..., Any], place: str) -> None:
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise DataError(f"{place}: cannot be called without arguments ({error}); write {WRITTEN}") from error
    except ValueError:  # of functions in C the arguments may not be known
        pass


def _module(name: str, place: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return _run(partial(importlib.import_module, name), place)
    except ModuleNotFoundError as error:
        raise DataError(f"{place}: there is no module {error.name}; start where it lies, or write {WRITTEN}") from error
    finally:
        sys.path.remove("")


def _run(code: Callable[[], Any], place: str) -> Any:
    """What the user's code returns; its errors name the line they come from.

    The device that tensors are made on by default is put back: the engine's own would be made there too.
    """
    kept = torch.get_default_device()
    try:
        return code()
    except ModuleNotFoundError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DataError(
            f"{place}: {last.filename}:{last.lineno}: {type(error).__name__}: {error}; mend the code"
        ) from error
    finally:
        if torch.get_default_device() != kept:
            torch.set_default_device(None if kept.type == "cpu" else kept)
