"""Counts that enter a certificate, checked against the plan they were drawn for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from certflow.certify.double_sampling.arguments import Q_KINDS
from certflow.sampling.counts import count_of, largest_other_count

if TYPE_CHECKING:
    import pandas as pd

PLAN_COLUMNS = ("idx", "label", "selected", "k0", "n0", "n")


class CountsError(ValueError):
    """Counts that cannot have come from the plan: a broken or foreign file, never a number in a table."""


@dataclass(frozen=True)
class PlannedCounts:
    """Stage-2 counts with the plan's columns, all int64 and consistent. Arrays over images: [images]."""

    idx: np.ndarray
    label: np.ndarray
    selected: np.ndarray
    n: np.ndarray
    counts: np.ndarray
    """[images, classes]"""

    @property
    def classes(self) -> int:
        return self.counts.shape[1]

    @property
    def sampled(self) -> np.ndarray:
        """bool [images]: whether stage 2 drew anything for the image."""
        return self.n > 0

    def selected_count(self) -> np.ndarray:
        """int64 [images]: the count of the selected class."""
        return self.count_of(self.selected)

    def count_of(self, classes: np.ndarray) -> np.ndarray:
        """int64 [images]: the count of one class per image."""
        return count_of(self.counts, classes)

    def largest_other_count(self) -> np.ndarray:
        """int64 [images]: the largest count of any class but the selected one."""
        return largest_other_count(self.counts, self.selected)

    def verdict(self, certified: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
        """The columns predict, k, reason and saturated of a certificate that gave radii to the images `certified` (bool
        [images]), each for its class of `classes` (int64 [images])."""
        k = self.count_of(classes)
        return {
            "predict": np.where(certified, classes, -1),
            "k": k,
            "reason": np.where(certified, "", np.where(self.sampled, "low_pA", "not_sampled")),
            "saturated": self.sampled & (k == self.n),
        }


def planned_counts(plan: "pd.DataFrame", counts: np.ndarray) -> PlannedCounts:
    """The checked pair of plan and stage-2 counts [images, classes]; `CountsError` naming the image that does not fit.

    Checked: columns and whole numbers, one row of counts per image, two classes or more, no image twice, no negative number,
    labels and selected classes among the classes, k0 at most n0, and each row of counts summing to that image's n.
    """
    missing = [column for column in PLAN_COLUMNS if column not in plan.columns]
    if missing:
        raise CountsError(
            f"the plan lacks the columns {', '.join(missing)}; it has {', '.join(map(str, plan.columns))}"
        )
    column = {name: _whole_column(name, plan[name].to_numpy()) for name in PLAN_COLUMNS}
    counts = _whole_column("counts", np.asarray(counts))
    if counts.ndim != 2 or len(counts) != len(plan):
        raise CountsError(
            f"counts: {list(counts.shape)} do not fit a plan of {len(plan)} images; [images, classes] is needed"
        )
    classes = counts.shape[1]
    if classes < 2:
        raise CountsError(f"counts: {classes} class; smoothing needs two or more")
    idx = column["idx"]
    unique, first = np.unique(idx, return_index=True)
    again = np.ones(len(idx), bool)
    again[first] = False
    _refuse(idx, again, "is planned twice")
    _refuse(idx, idx < 0, "has a negative number")
    for name in ("label", "selected"):
        outside = (column[name] < 0) | (column[name] >= classes)
        _refuse(idx, outside, f"{name} {{}} is not below {classes}", column[name])
    _refuse(idx, column["n0"] < 0, "n0 is {}, must be at least 0", column["n0"])
    _refuse(idx, (column["k0"] < 0) | (column["k0"] > column["n0"]), "k0 is {}, must be from 0 to n0", column["k0"])
    _refuse(idx, column["n"] < 0, "n is {}, must be at least 0", column["n"])
    _refuse(idx, (counts < 0).any(axis=1), "a class count is negative")
    total = counts.sum(axis=1)
    _refuse(idx, total != column["n"], "counts sum to {}, the plan says n={}", total, column["n"])
    return PlannedCounts(idx, column["label"], column["selected"], column["n"], counts)


def same_images(plan: "pd.DataFrame", idx: np.ndarray) -> None:
    """`CountsError` unless the counts' rows are of the plan's images, in its order. idx: whole numbers [images]."""
    wanted, idx = plan["idx"].to_numpy(), np.asarray(idx)
    if len(idx) != len(wanted):
        raise CountsError(f"holds {len(idx)} images, its plan has {len(wanted)}")
    bad = idx != wanted
    if bad.any():
        row = int(np.argmax(bad))
        raise CountsError(
            f"row {row} is of image idx {idx[row]}, but the plan has image idx {wanted[row]} there ({int(bad.sum())} such rows)"
        )


@dataclass(frozen=True)
class SecondCounts(PlannedCounts):
    """Counts under a second law: `n` and `counts` are those drawn from it."""

    q_kind: np.ndarray
    """text [images]: `scaled`, `truncated` or `pooled`."""
    q_param: np.ndarray
    """float64 [images]: sigma of the law over that of the noise, or the percentile of the ball."""


def second_counts(plan: "pd.DataFrame", counts: np.ndarray, extra: Mapping[str, np.ndarray]) -> SecondCounts:
    """The counts_q of `extra`, checked against the plan's columns n_q, q_kind and q_param; `CountsError` otherwise."""
    missing = [column for column in ("q_kind", "q_param", "n_q") if column not in plan.columns]
    if missing or "counts_q" not in extra:
        what = f"the plan lacks {', '.join(missing)}" if missing else "the counts lack counts_q"
        raise CountsError(f"{what}: these draws are from one law only; sample with a sampler of kind double")
    if np.asarray(extra["counts_q"]).shape != np.asarray(counts).shape:
        raise CountsError(
            f"counts_q: {list(np.shape(extra['counts_q']))} do not fit counts of {list(np.shape(counts))}"
        )
    second = planned_counts(plan.assign(n=plan["n_q"]), extra["counts_q"])
    kind, parameter = plan["q_kind"].to_numpy().astype(str), plan["q_param"].to_numpy(np.float64)
    _refuse(second.idx, ~np.isin(kind, Q_KINDS), "q_kind is {}, must be one of " + ", ".join(Q_KINDS), kind)
    _refuse(second.idx, ~(np.isfinite(parameter) & (parameter > 0)), "q_param is {}, must be above 0", parameter)
    _refuse(
        second.idx, (kind == "truncated") & ~(parameter <= 1), "q_param is {}, a percentile is at most 1", parameter
    )
    return SecondCounts(second.idx, second.label, second.selected, second.n, second.counts, kind, parameter)


def _whole_column(name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu":
        raise CountsError(f"{name}: must be whole numbers, got type {values.dtype}")
    return values.astype(np.int64, copy=False)


def _refuse(idx: np.ndarray, bad: np.ndarray | np.bool, what: str, *values: np.ndarray) -> None:
    """CountsError about the first image where `bad` holds; `what` is formatted with that image's `values`."""
    if bad.any():
        row = int(np.argmax(bad))
        more = f" (and {int(bad.sum()) - 1} more images)" if bad.sum() > 1 else ""
        raise CountsError(f"image idx {idx[row]}: {what.format(*(value[row] for value in values))}{more}")
