"""Which experiments and diagnoses a command is about: only what they need has to be there."""

import re
from collections.abc import Iterable

from certflow.config import Study
from certflow.errors import listed
from certflow.files.results import MODEL
from certflow.workflow.leftovers import LAST

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


def misspelt(study: Study, targets: Iterable[str]) -> list[str]:
    """One line for each target below `results/` that would be a last result of an experiment or diagnosis that there is not:
    Snakemake says of it only that no rule produces it."""
    pages, lines = [*study.experiments, *study.diagnoses], []
    for target in sorted(targets):
        match = RESULT.match(target)
        if match and not _named(study, target):
            name = match[1].rpartition(".")[0] or match[1]
            lines.append(f"{target}: there is no experiment or diagnosis {name!r}; known: {listed(pages, name)}")
    return lines


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
