"""Which experiments and diagnoses a command is about: only what they need has to be there."""

import re
from collections.abc import Iterable

from certflow.config import Study
from certflow.workflow.leftovers import LAST
from certflow.workflow.paths import MODEL

RESULT = re.compile(rf"(?:^|/)results/(?:{'|'.join(LAST)})/([^/]+)")
"""Path of a last result; its name, or folder, begins with that of the experiment or diagnosis."""


def concerned(study: Study, targets: Iterable[str]) -> list[str]:
    """Names of the experiments and diagnoses behind these targets (paths, or names of rules); without any, those that the
    configuration lists under `targets`.

    The path of a model, or of what is made from it, stands for every experiment and diagnosis with that model.
    """
    targets = set(targets)
    if not targets or "all" in targets:
        return [*dict.fromkeys([*study.targets, *(name for target in targets for name in _named(study, target))])]
    return [*dict.fromkeys(name for target in sorted(targets) for name in _named(study, target))]


def _named(study: Study, target: str) -> list[str]:
    match, pages = RESULT.search(target), [*study.experiments, *study.diagnoses]
    if match:
        names = {match[1], match[1].rpartition(".")[0]}
        return [name for name in pages if name in names]
    return [name for name in pages if _makes(study, name, target)]


def _makes(study: Study, name: str, target: str) -> bool:
    if f"/{study.page(name).dataset}/" not in target:
        return False
    return any(f"/{MODEL.format(**key._asdict())}/" in target for key in study.page_models(name))
