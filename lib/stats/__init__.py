"""Exact binomial statistics and the bootstrap. Needs numpy and scipy only, imported at first use, and nothing of ours."""

import importlib
from typing import Any

_HOMES = {
    "LARGEST_N": "limits",
    "bootstrap_interval": "bootstrap",
    "clopper_pearson_failure": "clopper_pearson",
    "clopper_pearson_lower": "clopper_pearson",
    "clopper_pearson_upper": "clopper_pearson",
    "failures_quantile": "table_bound",
    "plug_in_failure": "clopper_pearson",
    "prediction_p_value": "prediction",
    "smallest_n_to_certify": "limits",
    "smallest_n_to_predict": "limits",
    "true_accuracy_lower_bound": "table_bound",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
