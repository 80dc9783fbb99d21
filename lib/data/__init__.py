"""Datasets: `prepare` and `open_split` by manifest, `Images` chooses among a split's images. Importing this loads no torch.

Training batches: `lib.data.batches.batches`.
"""

from typing import Any

_HOMES = {
    "Images": "lib.data.subset",
    "content_digest": "lib.data.store",
    "open_split": "lib.data.store",
    "prepare": "lib.data.store",
    "to_unit": "lib.data.augmentation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
