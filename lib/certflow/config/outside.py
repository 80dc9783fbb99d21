"""What a configuration needs from outside itself: files that models are made from, tables made elsewhere, and devices that the
environment names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from certflow.config.records import PAGES
from certflow.config.study import Study
from certflow.errors import CertflowError
from certflow.machine.claims import device_problems

KEYS = {"start": "start_from", "checkpoint": "checkpoint"}
"""Role of a file among those that a model is made from → the method's setting that names it."""


def outside_problems(study: Study, concerned: Callable[[Study], Iterable[str]], known: Sequence[str]) -> Iterator[str]:
    """One line for each device that cannot exist, each missing file that a model is made from, and each missing table.

    Only what the experiments and diagnoses that `concerned` names need has to be there. Those that have `known` problems, or
    name an entry that has some, are passed over: what they need is not known.
    """
    yield from device_problems()
    names = _reached(lambda: concerned(study), known)
    places = {name: tuple(f"{section}.{name}." for section in PAGES) for name in names}
    sound = [name for name in names if not any(line.startswith(places[name]) for line in known)]
    yield from dict.fromkeys(line for name in sound for line in _reached(partial(_missing, study, name), known))


def _reached(find: Callable[[], Iterable[str]], known: Sequence[str]) -> list[str]:
    """What `find` returns; nothing where it looks up an entry that is missing because of `known` problems."""
    try:
        return list(find())
    except KeyError:
        if not known:
            raise
        return []


def _missing(study: Study, name: str) -> Iterator[str]:
    if name in study.experiments:
        for place, result in enumerate(study.experiments[name].foreign):
            for number, path in enumerate(result.paths):
                yield from _absent(f"experiments.{name}.foreign.{place}.tables.{number}", path)
    needed = study.needed(study.page_models(name))
    for model in dict.fromkeys(model for _, model, *_ in needed):
        yield from (f"models.{model}: {line}" for line in study.models[model].absent())
    for dataset, _, method, noise, seed in needed:
        denoiser = study.own_denoiser(dataset, method, noise)
        if denoiser is not None:
            yield from (f"denoisers.{denoiser}.{line}" for line in study.denoisers[denoiser].absent())
        try:
            files = study.brought(dataset, method, noise, seed)
        except CertflowError as error:  # a folder of weights that lacks a file
            yield f"denoisers.{denoiser}.weights: {error}"
            continue
        for role, path in files.items():
            key = f"methods.{method}.{KEYS[role]}" if role in KEYS else f"denoisers.{denoiser}.weights"
            yield from _absent(key, path)


def _absent(key: str, path: str) -> Iterator[str]:
    if not os.path.exists(path):
        yield f"{key}: {path} is not there; put it there, or correct the path"
