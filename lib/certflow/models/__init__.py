"""Base classifiers: architectures by kind (`kinds`), building, storing, published checkpoints, folding for inference."""

from certflow.kinds.exports import exports

_HOMES = {
    "FoldedModel": "fast.folding",
    "Normalise": "normalise",
    "build": "assemble",
    "fold": "fast.folding",
    "import_model": "importing",
    "load_checkpoint": "published",
    "load_model": "checkpoint",
    "save_model": "checkpoint",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
