"""Training of base classifiers under noise: one loop (`train`), and one small file per method in `kinds`."""

from importlib import import_module
from typing import Any

_WHERE = {
    "Batch": "lib.training.batch",
    "TrainingResult": "lib.training.loop",
    "seed_everything": "lib.training.seeding",
    "train": "lib.training.loop",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    # These need torch, which importing the package must not load: the configuration reads the specs on every start.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
