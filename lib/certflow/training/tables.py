"""The per-image tables that some methods read while they train: found by name, checked, and traced to what made them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.training.predictions import read_predictions, unusual

if TYPE_CHECKING:
    from certflow.training.assembly import Data


def read_tables(
    spec: Mapping[str, Any], paths: Mapping[str, str | Path], data: "Data"
) -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    """(arrays by name, digests of their files by name, warnings) of the tables that `spec` (`Study.model_spec`) names.

    paths: file of each table. Errors as in `read_predictions`; ValueError where tables
    and files do not belong together.
    """
    wanted = spec.get("tables", {})
    if set(wanted) != set(paths):
        raise ValueError(f"the specification names the tables {sorted(wanted)}, files are given for {sorted(paths)}")
    arrays, parents, warnings = {}, {}, []
    for name, made_as in sorted(wanted.items()):
        arrays[name], record = read_predictions(
            paths[name], made_as, data=data.digest, images=len(data.train), classes=data.info.classes
        )
        parents[name] = record.digest
        warning = unusual(made_as)
        if warning:
            warnings.append(warning)
            print(f"note: {paths[name]}: {warning}", file=sys.stderr, flush=True)
    return arrays, parents, warnings
