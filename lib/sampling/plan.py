"""The plan: for every image its class and its number of fresh draws, fixed before any of them is made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.artefact import Provenance, read_arrays, write_table
from lib.registry import revive


def write_plan(spec: Mapping[str, Any], *, counts: str | Path, plan: str | Path) -> None:
    """Write the plan that the sampler of `spec` (`Study.plan_spec`) makes from stage-1 counts.

    Columns: idx, label, selected (class), k0 (its stage-1 count), k0_other (the largest of any other class), n0, n (stage-2
    draws; 0 = abstain unsampled), seconds0 (of stage 1), and whatever else the sampler writes.
    """
    import pandas as pd

    arrays, record = read_arrays(counts, format="presample")
    noise, sampler = revive("noise", spec["noise"]), revive("sampler", spec["sampler"])
    made_for = {**record.spec, "noise": spec["noise"], "presample": sampler.presample()}
    record.require(counts, format="presample", spec=made_for)
    columns = sampler.plan(arrays["counts"], noise)
    table = pd.DataFrame(
        {
            "idx": arrays["idx"],
            "label": arrays["label"],
            "selected": columns["selected"],
            "k0": columns["k0"],
            "k0_other": largest_other_count(arrays["counts"], columns["selected"]),
            "n0": arrays["counts"].sum(axis=1),
            "n": columns["n"],
            "seconds0": arrays["seconds"],
            **{name: values for name, values in columns.items() if name not in ("selected", "k0", "n")},
        }
    )
    made_from = {**record.spec, **spec}
    write_table(
        plan,
        table,
        Provenance(
            format="plan", spec=made_from, parents={"presample": record.digest, **record.parents}, notes=record.notes
        ),
    )


def largest_other_count(counts: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """int64 [images]: the largest count of any class but the selected one. counts: [images, classes]."""
    others = counts.copy()
    np.put_along_axis(others, selected[:, None], -1, axis=1)
    return others.max(axis=1)


def shard_bounds(draws: np.ndarray, shards: int) -> np.ndarray:
    """Boundaries, int64 [shards + 1], that cut images into consecutive shards of about equally many draws.

    draws: int64 [images]. Every image lies in exactly one shard; a shard may be empty.
    """
    if shards < 1:
        raise ValueError(f"shards: must be at least 1, got {shards}")
    done = np.concatenate([[0], np.cumsum(draws, dtype=np.int64)])
    goals = done[-1] * np.arange(shards + 1, dtype=np.float64) / shards
    bounds = np.searchsorted(done, goals, side="left").astype(np.int64)
    bounds[0], bounds[-1] = 0, len(draws)
    return np.maximum.accumulate(bounds)
