"""Combinations of entries that cannot work, found before anything runs. Every line starts with the key that names them."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from certflow.config.records import Diagnosis, Experiment, ModelKey
from certflow.config.study import Study
from certflow.data.base import DataInfo
from certflow.errors import ConfigError, no_entry
from certflow.kinds.registry import spec_class
from certflow.report.decided import known_at
from certflow.stats.limits import LEAST_RANKED
from certflow.training.base import MethodSpec


def combination_problems(study: Study, e: Experiment | Diagnosis) -> Iterator[str]:
    """One line for each problem of an experiment or a diagnosis all of whose names are known."""
    info = study.datasets[e.dataset].info()
    unfit = [*_item_problems(study, e, info.item.name)]
    yield from unfit
    if unfit:
        return
    yield from _images_problems(study, e, info)
    yield from _model_problems(study, e, info)
    if isinstance(e, Diagnosis):
        yield from _attacked_problems(e)
        yield from _beside_problems(study, e)
    else:
        yield from _corruption_problems(study, e, info)
        yield from _norm_problems(study, e)
        yield from _radii_problems(study, e)
        yield from _pair_problems(study, e)
        yield from _preview_problems(study, e)


def _attacked_problems(d: Diagnosis) -> Iterator[str]:
    if d.images is None and d.attacks:
        yield "images: is missing; say which images are attacked"


def _beside_problems(study: Study, d: Diagnosis) -> Iterator[str]:
    """An experiment of too few models to rank them."""
    if d.beside is None:
        return
    other = study.experiments[d.beside]
    models = len(other.methods) * len(other.noises) * len(other.seeds)
    if models < LEAST_RANKED:
        yield (
            f"beside: {d.beside} has {models} models, too few for a rank correlation; name an experiment of "
            f"{LEAST_RANKED} or more"
        )


def _model_problems(study: Study, e: Experiment | Diagnosis, info: DataInfo) -> Iterator[str]:
    """Why the models of an experiment or a diagnosis cannot be made, or attacked."""
    yield from _under(f"model: {e.model} on {e.dataset}", study.models[e.model].refusals(info))
    yield from _seed_problems(study, e)
    for noise in e.noises:
        yield from _under(f"noises: {noise} on {e.dataset}", study.noises[noise].problems(info.dim))
        for method in e.methods:
            key = ModelKey(e.dataset, e.model, method, noise, e.seeds[0])
            yield from _under(f"methods: {method} at {noise} on {e.dataset}", _method_problems(study, key))
        for attack in e.attacks:
            yield from _under(f"attacks: {attack} at {noise}", study.attacks[attack].problems(study.noises[noise]))


def _under(place: str, lines: Iterable[str]) -> Iterator[str]:
    """Problems of an entry; one about the whole of it starts with a colon where it comes from a `ConfigError`."""
    return (f"{place}: {line.removeprefix(': ')}" for line in lines)


def _item_problems(study: Study, e: Experiment | Diagnosis, item: str) -> Iterator[str]:
    """Entries that cannot be used on images, or on texts, at all."""
    used: dict[str, dict[str, Any]] = {
        "model": {e.model: study.models[e.model]},
        "noises": {name: study.noises[name] for name in e.noises},
        "methods": {name: spec_class("method", study.methods[name].kind) for name in e.methods},
        "attacks": {name: study.attacks[name] for name in e.attacks},
    }
    if isinstance(e, Experiment):
        used["certificates"] = {name: study.certificates[name] for name in e.certificates}
        used["corruptions"] = {name: study.corruptions[name] for name in e.corruptions}
    for key, entries in used.items():
        for name, entry in entries.items():
            yield from _under(f"{key}: {name} on {e.dataset}", entry.item_problems(item))


def _images_problems(study: Study, e: Experiment | Diagnosis, info: DataInfo) -> Iterator[str]:
    """Splits that the dataset lacks, and choices of images that leave none."""
    splits = study.datasets[e.dataset].splits()
    if "test" not in splits:
        yield f"dataset: {e.dataset} has no test split, on which every model is evaluated; leave out `only` in its entry"
    if e.images is None:
        return
    images = study.images[e.images]
    if images.split not in splits:
        yield f"images: {e.images} on {e.dataset}: there is no {images.split} split; leave out `only` in the dataset's entry"
    elif info.size is not None:
        try:
            images.indices(info.size[images.split])
        except ValueError as error:
            yield f"images: {e.images} on {e.dataset}: {error}"


def _corruption_problems(study: Study, e: Experiment, info: DataInfo) -> Iterator[str]:
    """Corrupted copies that cannot be made of an experiment's images."""
    for entry in e.corruptions:
        yield from _under(f"corruptions: {entry} on {e.dataset}", study.corruptions[entry].problems(info))
    split = study.images[e.images].split
    if e.corruptions and split != "test":
        yield f"corruptions: there are copies of test images only; {e.images} takes the {split} split"


def _norm_problems(study: Study, e: Experiment) -> Iterator[str]:
    norms = {study.certificates[certificate].norm for certificate in e.certificates}
    if len(norms) > 1:
        yield f"certificates: radii in {' and '.join(sorted(norms))} do not fit one table; make an experiment of each"


def _radii_problems(study: Study, e: Experiment) -> Iterator[str]:
    """Radii about which no certificate says anything, since all of them are of preset radii."""
    certificates = [study.certificates[name] for name in e.certificates]
    samplers = [study.samplers.get(one.sampler) for one in certificates if one.preset]
    preset = [radius for sampler in samplers for radius in getattr(sampler, "radii", ())]
    if len(samplers) < len(certificates):
        return
    for radius, known in zip(e.radii, known_at(np.array(preset), e.radii), strict=True):
        if not known:
            yield (
                f"radii: no certificate says anything at {radius:g}, as their samplers decide the radii "
                f"{', '.join(f'{r:g}' for r in sorted(set(preset)))} alone; list it there, too, or leave it out here"
            )


def _seed_problems(study: Study, e: Experiment | Diagnosis) -> Iterator[str]:
    """An imported checkpoint is of one training, so it cannot be used for several seeds."""
    for method in e.methods if len(e.seeds) > 1 else ():
        entry = study.methods[method]
        if not spec_class("method", entry.kind).trains and "{seed" not in entry.own["checkpoint"]:
            yield f"seeds: {method} brings one checkpoint for all seeds; write {{seed}} into its path or list one seed"


def _method_problems(study: Study, key: ModelKey, within: tuple[ModelKey, ...] = ()) -> Iterator[str]:
    """Why a method's model cannot be made at one noise level; if it can, why those that it is made from cannot. `within`: the
    models that are made from this one."""
    if key in within:
        circle = [*within[within.index(key) :], key]
        yield f"it is made from itself ({' -> '.join(one.method for one in circle)})"
        return
    found = list(_own_problems(study, key))
    yield from found
    for part in () if found else study.made_from(key):
        if part.method in study.methods and part.noise in study.noises:
            lines = [*_part_problems(study, part), *_method_problems(study, part, (*within, key))]
            yield from _under(f"it is made from {part.method} at {part.noise}", lines)


def _own_problems(study: Study, key: ModelKey) -> Iterator[str]:
    """Problems of a method with its noise, the number of images, its tables, and the other entries that it names."""
    dataset, model, method, noise, _ = key
    try:
        recipe = study.method(method, dataset, noise)
    except ConfigError as error:
        yield from error.problems
        return
    yield from recipe.refusals(study.noises[noise])
    size = study.datasets[dataset].info().size or {}
    if _learns(study, recipe) and "train" not in study.datasets[dataset].splits():
        yield "there is no train split to learn from; leave out `only` in the dataset's entry, or bring finished models"
    elif recipe.trained_here and "train" in size:
        yield from recipe.size_problems(size["train"])
    yield from recipe.pairing_problems(study, dataset, model, noise)
    for table in sorted(recipe.tables):
        name = getattr(recipe, table)
        if name not in study.predictions:
            yield f"{table}: {no_entry(name, 'predictions', study.predictions)}"


def _learns(study: Study, recipe: MethodSpec) -> bool:
    """Whether training images are needed for a method's model: it is trained here, or its denoiser is."""
    denoiser = study.denoisers.get(recipe.own_denoiser() or "")
    return recipe.trained_here or (denoiser is not None and denoiser.train is not None)


def _part_problems(study: Study, part: ModelKey) -> Iterator[str]:
    """Problems with the network and the noise of a model that another one is made from."""
    info = study.datasets[part.dataset].info()
    yield from _under(f"model: {part.model}", study.models[part.model].refusals(info))
    yield from study.noises[part.noise].problems(info.dim)


def _preview_problems(study: Study, e: Experiment) -> Iterator[str]:
    """Noises under which no table can be estimated; with `pairs: possible`, only if no noise is left."""
    misfits = {noise: study.preview_misfits(e, noise) for noise in e.noises}
    if e.pairs == "all" or all(misfits.values()):
        for noise, lines in misfits.items():
            yield from _under(f"preview: at {noise}", lines)


def _pair_problems(study: Study, e: Experiment) -> Iterator[str]:
    """Certificates that are impossible under a noise; with `pairs: possible`, noises without a certificate and certificates
    without a noise."""
    misfits = {(noise, name): study.misfits(e.dataset, noise, name) for noise in e.noises for name in e.certificates}
    if e.pairs == "all":
        for (noise, certificate), lines in misfits.items():
            yield from _under(f"certificates: {certificate} at {noise}", lines)
        return
    for noise in e.noises:
        found = {f"{name}: {line}": None for name in e.certificates for line in misfits[noise, name]}
        if all(misfits[noise, name] for name in e.certificates):
            yield f"noises: {noise} fits none of the certificates ({'; '.join(found)})"
    for name in e.certificates:
        found = {f"{noise}: {line}": None for noise in e.noises for line in misfits[noise, name]}
        if all(misfits[noise, name] for noise in e.noises):
            yield f"certificates: {name} fits none of the noises ({'; '.join(found)})"
