"""From class counts to certified radii. Needs no torch; pandas and scipy are imported at first use."""

import importlib
from typing import Any

_HOMES = {
    "CountsError": "counts",
    "certificate_table": "table",
    "gaussian_radius": "radii",
    "gaussian_radius_two_bound": "radii",
    "predict_classes": "predict",
    "read_field_table": "field_table",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
