"""What is wrong with entries whose own settings are right: names that lead nowhere, and values that do not go together."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from certflow.config.combinations import combination_problems
from certflow.config.foreign import foreign_problems
from certflow.config.parse import Written
from certflow.config.records import PAGES, Diagnosis, Experiment, PublishedCell
from certflow.config.study import Study
from certflow.errors import listed, no_entry
from certflow.kinds.registry import spec_class
from certflow.report import envelopes
from certflow.report.published import published_archs, published_datasets
from certflow.training.predictions import Predictions

FILES = {"samplers": (".npz",), "predictions": (".npz",), "datasets": (".json", ".source"), "diagnoses": (".html",)}
"""Section whose entries have both a folder and files beside it, called like the folder with these endings → the endings."""


def study_problems(study: Study, written: Written) -> Iterator[str]:
    """One line for each problem, with its place. An entry that is written, but could not be parsed, is still a known name."""
    pages = [name for section in PAGES for name in written[section]]
    for name in study.targets:
        if name not in pages:
            yield f"targets: no experiment or diagnosis {name!r}; known: {listed(pages, name)}"
    for name in sorted({name for name in pages if pages.count(name) > 1}):
        yield f"diagnoses.{name}: is the name of an experiment, too; rename one"
    for name, certificate in study.certificates.items():
        yield from _unknown(f"certificates.{name}.sampler", [certificate.sampler], "samplers", written)
    yield from _path_problems(written)
    for name, sampler in study.samplers.items():
        yield from (f"samplers.{name}: {line}" for line in sampler.problems())
    for name, entry in study.predictions.items():
        yield from (f"predictions.{name}.{line}" for line in _predictions_problems(study, entry, written))
    for name, e in study.experiments.items():
        yield from (f"experiments.{name}.{line}" for line in _experiment_problems(study, e, written))
    for name, d in study.diagnoses.items():
        yield from (f"diagnoses.{name}.{line}" for line in _diagnosis_problems(study, d, written))


def _path_problems(written: Written) -> Iterator[str]:
    """Entries whose folder would have the same path as a file of another entry."""
    for section, endings in FILES.items():
        for name, ending in product(written[section], endings):
            if name + ending in written[section]:
                yield f"{section}.{name}{ending}: its folder would be called like a file of {section}.{name}; rename one"


def _unknown(key: str, names: Sequence[str], section: str, written: Written) -> Iterator[str]:
    for name in sorted(set(names) - set(written[section])):
        yield f"{key}: {no_entry(name, section, written[section])}"


def _predictions_problems(study: Study, entry: Predictions, written: Written) -> Iterator[str]:
    """Unknown names, a base classifier that needs smoothed predictions itself, and noise of level 0, which smooths nothing."""
    yield from _unknown("method", [entry.method], "methods", written)
    yield from _unknown("noise", [entry.noise], "noises", written)
    base = study.methods.get(entry.method)
    if base is not None and spec_class("method", base.kind).tables:
        yield f"method: {entry.method} learns from smoothed predictions itself; name one that does not"
    law = study.noises.get(entry.noise)
    if law is not None and law.sigma == 0:
        yield f"noise: {entry.noise} is of kind {law.kind}: votes without noise are not smoothed; name one with sigma above 0"


def _experiment_problems(study: Study, e: Experiment, written: Written) -> Iterator[str]:
    """Unknown names first; impossible combinations where all are known."""
    named = {
        "dataset": ("datasets", [e.dataset]),
        "model": ("models", [e.model]),
        "images": ("images", [e.images]),
        "noises": ("noises", e.noises),
        "methods": ("methods", e.methods),
        "certificates": ("certificates", e.certificates),
        "corruptions": ("corruptions", e.corruptions),
        "attacks": ("attacks", e.attacks),
        "preview.sampler": ("samplers", [e.preview.sampler] if e.preview else []),
        **{f"foreign.{place}.noise": ("noises", [result.noise]) for place, result in enumerate(e.foreign)},
    }
    yield from _name_problems(named, written)
    yield from _seed_problems(e)
    yield from _list_problems(e)
    yield from _published_problems(study, e)
    yield from _envelope_problems(study, e)
    yield from foreign_problems(study, e)
    if _all_there(study, named):
        yield from combination_problems(study, e)


def _diagnosis_problems(study: Study, d: Diagnosis, written: Written) -> Iterator[str]:
    """Unknown names first; impossible combinations where all are known."""
    named = {
        "dataset": ("datasets", [d.dataset]),
        "model": ("models", [d.model]),
        "noises": ("noises", d.noises),
        "methods": ("methods", d.methods),
        "knowledge": ("knowledge", [d.knowledge]),
        "attacks": ("attacks", d.attacks),
        "images": ("images", [] if d.images is None else [d.images]),
        "beside": ("experiments", [] if d.beside is None else [d.beside]),
    }
    yield from _name_problems(named, written)
    yield from _seed_problems(d)
    if _all_there(study, named):
        yield from combination_problems(study, d)


Named = Mapping[str, tuple[str, Sequence[str]]]
"""Key of an entry → the section that its names are of, and the names."""


def _name_problems(named: Named, written: Written) -> Iterator[str]:
    """Names that lead nowhere, or are listed twice."""
    for key, (section, names) in named.items():
        yield from _unknown(key, names, section, written)
        yield from (f"{key}: {name!r} is listed twice" for name in sorted({n for n in names if names.count(n) > 1}))


def _all_there(study: Study, named: Named) -> bool:
    return all(name in getattr(study, section) for section, names in named.values() for name in names)


def _seed_problems(e: Experiment | Diagnosis) -> Iterator[str]:
    """Seeds that are listed twice."""
    if len(set(e.seeds)) < len(e.seeds):
        yield f"seeds: must be different, got {e.seeds}"


def _list_problems(e: Experiment) -> Iterator[str]:
    """Lists that only experiments have, and that must increase or hold nothing twice."""
    theirs = [(result.label, result.noise) for result in e.foreign]
    if len(set(theirs)) < len(theirs):
        yield "foreign: two lines have the same label and noise; give them different labels, or list their tables in one"
    for label in sorted({label for label, _ in theirs} & set(e.methods)):
        yield f"foreign: a line made elsewhere has the label {label!r}, as our method; give it one that tells them apart"
    if sorted(set(e.radii)) != e.radii or e.radii[0] < 0:
        yield f"radii: must increase and not be negative, got {e.radii}"


def _envelope_problems(study: Study, e: Experiment) -> Iterator[str]:
    """An envelope over noise levels where every kind of noise has one level only."""
    laws = [study.noises[name] for name in e.noises if name in study.noises]
    levels = {(law.kind, law.sigma) for law in laws}
    if e.envelope and len(laws) == len(e.noises) and len(levels) == len({kind for kind, _ in levels}):
        yield "envelope: every kind of noise has one level, so there is nothing to choose from; list several, or leave it out"


def _other_problems(published: PublishedCell, data: str, model: str) -> Iterator[str]:
    """A published dataset, or a published network, that is another one than ours and is not said to be."""
    other = "say what ours {} called, so that every comparison tells that they differ, or leave `published` out"
    if published.data is None and data != published.dataset:
        yield f"published.data: the published numbers are of {published.dataset}, not of {data}; {other.format('are')}"
    if published.model is None and published.arch not in (model, model.replace("cifar_", f"{published.dataset}_")):
        yield f"published.model: the published networks are {published.arch}, not {model}; {other.format('is')}"


def _published_problems(study: Study, e: Experiment) -> Iterator[str]:
    """Datasets and architectures of which no numbers were published, or that are others than ours without a word of it."""
    if e.published is not None:
        dataset, arch = e.published.dataset, e.published.arch
        if dataset not in published_datasets():
            yield f"published.dataset: no published numbers of {dataset!r}; known: {listed(published_datasets(), dataset)}"
        elif arch not in published_archs(dataset):
            known = listed(published_archs(dataset), arch)
            yield f"published.arch: no published numbers of {arch!r} on {dataset}; known: {known}"
        elif e.dataset in study.datasets and e.model in study.models:
            yield from _other_problems(e.published, study.datasets[e.dataset].kind, study.models[e.model].size_name)
    if e.envelopes is not None and not envelopes.envelopes(e.envelopes.dataset, e.envelopes.arch):
        yield f"envelopes: none of {e.envelopes.dataset} {e.envelopes.arch}; known: {', '.join(envelopes.known())}"
