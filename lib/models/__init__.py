"""Base classifiers: architectures by kind (`kinds`), building, storing, published checkpoints, folding for inference."""

from importlib import import_module
from typing import Any

_WHERE = {
    "FoldedModel": "lib.models.folding",
    "Normalise": "lib.models.normalise",
    "build": "lib.models.assemble",
    "fold": "lib.models.folding",
    "import_model": "lib.models.importing",
    "load_checkpoint": "lib.models.published",
    "load_model": "lib.models.checkpoint",
    "save_model": "lib.models.checkpoint",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    # These need torch, which importing the package must not load: the configuration reads the specs on every start.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
