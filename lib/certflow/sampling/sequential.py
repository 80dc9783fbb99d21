"""Counting until a rule has seen enough: images leave as soon as they are decided."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from certflow.kinds.spec import without
from certflow.machine.progress import progress
from certflow.sampling.base import StoppingRule
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.counts import count_of
from certflow.sampling.engine import Watch, count_classes
from certflow.sampling.fast.row_loop import Kept
from certflow.sampling.images import Reader
from certflow.sampling.resume import Journal


@dataclass
class Sequence:
    """counts: int64 [images, classes]; drawn: int64 [images]; decided, seconds: float64 [images]."""

    counts: np.ndarray
    drawn: np.ndarray
    decided: np.ndarray
    seconds: np.ndarray
    finished: np.ndarray
    """bool [images]: whether the rule has ended the image."""
    look: int = 0
    """The next look."""

    def ended(self, most: int) -> int:
        """How many images have ended; those that have not count by their draws so far of the `most` that one may need."""
        return int(np.where(self.finished, 1.0, self.drawn / most).sum())

    def arrays(self) -> dict[str, np.ndarray]:
        return {**vars(self), "look": np.array(self.look, np.int64)}


def count_until(
    base: BaseClassifier,
    images: np.ndarray | torch.Tensor | Reader,
    index: np.ndarray,
    selected: np.ndarray,
    rule: StoppingRule,
    *,
    journal: Journal | None = None,
    description: str = "sample",
    quiet: bool = False,
    watch: Watch | None = None,
    **options: Any,
) -> Sequence:
    """Draw each image up to the looks of `rule` until the rule ends it.

    images, index and further options as for `count_classes`; selected: int64 [images], the class whose count is judged. An
    image's draws are numbered from 0 through all looks, so its counts depend on the rule and on nothing else: not on batch
    size, shards, interruption, or when other images end.
    """
    total = len(index)
    state = _resumed(journal) or Sequence(
        counts=np.zeros((total, base.classes), np.int64),
        drawn=np.zeros(total, np.int64),
        decided=np.full(total, -1.0),
        seconds=np.zeros(total),
        finished=np.zeros(total, bool),
    )
    kept, most = Kept(), int(rule.looks[-1])
    with progress(total, "img", description, initial=state.ended(most), quiet=quiet) as bar:
        while state.look < len(rule.looks) and not state.finished.all():
            active, before = np.flatnonzero(~state.finished), state.ended(most)
            instalment = journal.instalment(state.look, partial(_keep, state, journal)) if journal else None
            found = count_classes(
                base,
                _some(images, active) if isinstance(images, Reader) else images[active],
                index[active],
                rule.looks[state.look] - state.drawn[active],
                start=state.drawn[active],
                journal=instalment,
                kept=kept,
                quiet=True,
                **_of(active, options),
            )
            state.counts[active] += found.counts
            state.seconds[active] += found.seconds
            state.drawn[active] = rule.looks[state.look]
            k = count_of(state.counts, selected)[active]
            state.decided[active], state.finished[active] = rule.judge(state.look, k, state.decided[active])
            state.look += 1
            bar.update(state.ended(most) - before)
            _store(state, journal, instalment)
            if watch:
                watch(description, state.ended(most), total)
    return state


def _some(images: Reader, wanted: np.ndarray) -> Reader:
    """Some of the images, by their increasing numbers, read when their turn comes."""

    def read(rows: slice) -> np.ndarray:
        runs = np.split(wanted[rows], np.flatnonzero(np.diff(wanted[rows]) > 1) + 1)
        return np.concatenate([images.read(slice(int(run[0]), int(run[-1]) + 1)) for run in runs])

    return Reader(read)


def _of(active: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the images still drawn: only `parameter` differs between images."""
    parameter = options.get("parameter")
    return options if parameter is None else {**options, "parameter": parameter[active]}


def _keep(state: Sequence, journal: Journal) -> None:
    journal.write(state.arrays())


def _resumed(journal: Journal | None) -> Sequence | None:
    arrays = journal.read() if journal else None
    return None if arrays is None else Sequence(look=int(arrays["look"]), **without(arrays, "look"))


def _store(state: Sequence, journal: Journal | None, instalment: Journal | None) -> None:
    """Keep the state if it is time, and at once where the instalment had to be kept: what it holds is part of the state now."""
    if journal and instalment and (journal.due() or instalment.path.exists()):
        _keep(state, journal)
        instalment.remove()
