"""Which experiments a command is about: only what they need has to be there."""

import re
from collections.abc import Iterable

from certflow.config import Study
from certflow.workflow.leftovers import LAST
from certflow.workflow.paths import MODEL

RESULT = re.compile(rf"(?:^|/)results/(?:{'|'.join(LAST)})/([^/]+)")
"""Path of a last result; its name, or folder, begins with that of the experiment."""


def concerned(study: Study, targets: Iterable[str]) -> list[str]:
    """Names of the experiments that make these targets (paths, or names of rules), or that are made where there are none.

    A path of a model, or of what is made from it, is that of all experiments with this model.
    """
    targets = set(targets)
    if not targets or "all" in targets:
        return [*dict.fromkeys([*study.targets, *(name for target in targets for name in _named(study, target))])]
    return [*dict.fromkeys(name for target in sorted(targets) for name in _named(study, target))]


def _named(study: Study, target: str) -> list[str]:
    match = RESULT.search(target)
    if match:
        names = {match[1], match[1].rpartition(".")[0]}
        return [name for name in study.experiments if name in names]
    return [name for name in study.experiments if _makes(study, name, target)]


def _makes(study: Study, experiment: str, target: str) -> bool:
    e = study.experiments[experiment]
    if f"/{e.dataset}/" not in target:
        return False
    return any(f"/{MODEL.format(**vars(run))}/" in target for run in study.runs(experiment))
