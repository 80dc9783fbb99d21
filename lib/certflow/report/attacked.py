"""Attack tables as a report uses them: the share of images that no attack was found for, a ceiling above certified accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import DataError
from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.report.columns import Column, UnderAttack

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Attacked:
    """What one attack left of a line, over its seeds."""

    attack: str
    """Name of the configuration's entry."""
    norm: str
    smoothed: bool
    """Whether the smoothed classifier was attacked; certificates say nothing of the other one."""
    eps: tuple[float, ...]
    """Increasing, [0,1]-pixel units; 0 is put first, for the classes before the attack."""
    survived: np.ndarray
    """bool [seeds, images, eps]: not settled as a wrong class, before or after an attack at this or a smaller radius."""
    idx: np.ndarray
    """int64 [images]: positions in the split."""
    macro_f1: np.ndarray = field(default_factory=lambda: np.empty(0))
    """float64 [eps]: mean over seeds of `macro_f1` of the classes that an attack left."""
    models: tuple[str, ...] = ()
    """Digest of the weights of each seed."""

    @property
    def accuracy(self) -> np.ndarray:
        """float64 [eps]: mean of `survived` over images and seeds."""
        return self.survived.mean(axis=(0, 1))

    @property
    def columns(self) -> dict[Column, float]:
        """A summary's column → accuracy, for the radii that were attacked."""
        shares = zip(self.eps, self.accuracy, strict=True)
        key = (self.attack, self.norm, self.smoothed)
        return {Column(UnderAttack(*key, eps)): float(share) for eps, share in shares if eps > 0}


def survivors(table: "pd.DataFrame") -> tuple[tuple[float, ...], np.ndarray]:
    """Radii, 0 first, and bool [images, radii]: see `Attacked.survived`.

    What was found within a radius lies within every larger one, so that shares fall with the radius. Abstentions count as
    surviving: they show no wrong class, and a ceiling must not lie below what is certified with more draws.
    """
    label, before = (table[name].to_numpy() for name in ("label", "predict"))
    radii = np.unique(table["eps"].to_numpy(np.float64))
    images = len(table) // len(radii)
    after = table["attacked_predict"].to_numpy().reshape(len(radii), images)
    label, before = label[:images], before[:images]
    safe = np.stack([(classes == label) | (classes == -1) for classes in (before, *after)], axis=1)
    eps = (0.0, *radii.tolist())
    keep = [i for i, value in enumerate(eps) if i == 0 or value > 0]
    return tuple(eps[i] for i in keep), np.logical_and.accumulate(safe, axis=1)[:, keep]


def left(table: "pd.DataFrame") -> np.ndarray:
    """int64 [images, radii], 0 first: the class after the best attack within each radius; the first wrong one stays."""
    _, safe = survivors(table)
    radii = np.unique(table["eps"].to_numpy(np.float64))
    images = len(safe)
    before = table["predict"].to_numpy(np.int64)[:images]
    after = table["attacked_predict"].to_numpy(np.int64).reshape(len(radii), images)[radii > 0]
    found = np.stack([before, *after], axis=1)
    first = np.where(safe.all(axis=1), found.shape[1] - 1, (~safe).argmax(axis=1))
    return found[np.arange(images)[:, None], np.minimum(np.arange(found.shape[1]), first[:, None])]


def macro_f1(label: np.ndarray, predict: np.ndarray) -> float:
    """The mean over the classes that occur as label or prediction of 2·right / (labels + predictions); -1 is not a class."""
    classes = np.unique(np.concatenate([label, predict[predict >= 0]]))
    scores = [2 * ((label == c) & (predict == c)).sum() / ((label == c).sum() + (predict == c).sum()) for c in classes]
    return float(np.mean(scores))


def read_attacked(
    runs: Sequence[Mapping[str, Any]], paths: Sequence[str]
) -> dict[tuple[str, str], tuple[Attacked, ...]]:
    """(method, noise) → what each attack left, in the order of `runs`.

    runs: `attacks` of `Study.table_spec`, in the order of the tables at `paths`; each must have been made from its run's `spec`
    (`ArtefactError`), all seeds of an attack on the same images (`DataError`).
    """
    groups: dict[tuple[str, str], dict[str, list]] = {}
    for run, path in zip(runs, paths, strict=True):
        read = read_table(path, format="attack", spec=run["spec"])
        groups.setdefault((run["method"], run["noise"]), {}).setdefault(run["attack"], []).append((path, *read))
    return {key: tuple(_one(*item) for item in found.items()) for key, found in groups.items()}


def _one(attack: str, seeds: Sequence[tuple[str, "pd.DataFrame", Provenance]]) -> Attacked:
    """What an attack left, from the (path, table, record) of each seed."""
    safe, scores, notes = [], [], seeds[0][2].notes
    for path, table, _ in seeds:
        eps, survived = survivors(table)
        idx = table["idx"].to_numpy(np.int64)[: len(survived)]
        first = seeds[0][1]["idx"].to_numpy(np.int64)[: len(survived)]
        if len(table) != len(seeds[0][1]) or not np.array_equal(idx, first):
            raise DataError(f"{path}: was made on other images than {seeds[0][0]}; delete it and run again")
        safe.append(survived)
        label = table["label"].to_numpy(np.int64)[: len(survived)]
        scores.append([macro_f1(label, classes) for classes in left(table).T])
    models = tuple(record.parents.get("model", "") for _, _, record in seeds)
    f1 = np.mean(scores, axis=0)
    return Attacked(attack, notes["norm"], notes["smoothed"], eps, np.stack(safe), idx, f1, models)
