"""Combinations of a denoised method with other entries that cannot work, found before anything runs."""

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, cast

from certflow.data.base import DataInfo
from certflow.errors import ConfigError, listed, no_entry
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import canonical_json
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.config import Study
    from certflow.training.behind import BehindDenoiser
    from certflow.training.kinds.denoised import Classifier, Denoised
    from certflow.training.kinds.ftcadis import FtCadis
    from certflow.training.kinds.retrained import Retrained


def problems(method: "Denoised", study: "Study", dataset: str, model: str, noise: str) -> Iterator[str]:
    """One line for each reason why `method` cannot be made for these entries."""
    yield from _denoiser(method, study, dataset, noise)
    if method.classifier is None:
        if not study.models[model].brings_weights:
            yield f"classifier: is null, and model {model} brings no pretrained weights; name a method that trains one"
        if method.resize is not None and study.models[model].resize is not None:
            yield f"resize: model {model} resizes already; leave it out here or there"
    else:
        yield from _classifier("classifier", method.classifier, study, model)
    for number, surrogate in enumerate(method.surrogates):
        yield from _classifier(f"surrogates.{number}", surrogate, study, model)
    yield from _start(method, study, dataset, noise)


def _denoiser(method: "Denoised", study: "Study", dataset: str, noise: str) -> Iterator[str]:
    if method.denoiser is None:
        return
    if method.denoiser not in study.denoisers:
        yield f"denoiser: {no_entry(method.denoiser, 'denoisers', study.denoisers)}"
        return
    spec = study.denoisers[method.denoiser]
    for line in [*spec.problems(study.datasets[dataset].info()), *spec.level_problems(study.noises[noise].sigma)]:
        yield f"denoiser: {method.denoiser}: {line}"
    if method.objective is None and not spec.trained:
        yield f"objective: {method.denoiser} comes without weights; say what it is trained for, or give it `train` or `weights`"
    if method.objective is not None and not spec.trainable:
        yield f"objective: {method.denoiser} is used with the weights it has; leave out the objective"


def _classifier(place: str, named: "Classifier", study: "Study", model: str) -> Iterator[str]:
    wanted = {"methods": named.method, "noises": named.noise, "models": named.model or model}
    for section, entry in wanted.items():
        entries = getattr(study, section)
        if entry not in entries:
            yield f"{place}: {no_entry(entry, section, entries)}"
    if named.method in study.methods and _kind(study, named.method).composed:
        yield f"{place}: {named.method} is itself a denoised method; name the method that trains the classifier"


def _start(method: "Denoised", study: "Study", dataset: str, noise: str) -> Iterator[str]:
    """What the training starts from must have trained the same denoiser."""
    if method.init_from is None:
        return
    other, problems = _denoised("init_from", method.init_from, study, dataset, noise)
    yield from problems
    if other is not None and (other.denoiser != method.denoiser or other.objective is None):
        yield f"init_from: {method.init_from} does not train the denoiser {method.denoiser}"


def finetuning_problems(method: "FtCadis", study: "Study", dataset: str, model: str, noise: str) -> Iterator[str]:
    """One line for each reason why the classifier of the denoised method that `method` starts from cannot be fine-tuned."""
    pair, problems = _pair(method, study, dataset, noise)
    yield from problems
    if pair is None:
        return
    named = model if pair.classifier is None else pair.classifier.model or model
    if named != model:
        yield f"start: {method.start} takes its classifier from model {named}; name that model in the experiment"
    if method.mode == "lora" and not problems:
        yield from _adaptable(method, study, dataset, model, pair.resize)


def retraining_problems(method: "Retrained", study: "Study", dataset: str, noise: str) -> Iterator[str]:
    """One line for each reason why no classifier can be trained behind the denoiser that `method` starts from."""
    pair, problems = _pair(method, study, dataset, noise)
    yield from problems
    if pair is not None and pair.denoiser is not None and not method.frozen:
        denoiser = study.denoisers.get(pair.denoiser)
        if denoiser is not None and not denoiser.trainable:
            yield f"frozen: {pair.denoiser} is used with the weights it has; set frozen: true"


def _pair(method: "BehindDenoiser", study: "Study", dataset: str, noise: str) -> tuple["Denoised | None", list[str]]:
    """The denoised method that `method` starts from (None: there is none), and what speaks against it."""
    pair, problems = _denoised("start", method.start, study, dataset, noise)
    if pair is not None and pair.denoiser is None:
        problems = [
            f"start: {method.start} has no denoiser; without one, train by a method such as gaussian with start_from"
        ]
    return pair, problems


def _denoised(place: str, name: str, study: "Study", dataset: str, noise: str) -> tuple["Denoised | None", list[str]]:
    """The method of kind `denoised` that is named at a place, and a line if there is none. What is wrong with its recipe is
    said of every model that another is made from: then there is none, and no line."""
    from certflow.training.kinds.denoised import Denoised

    if name not in study.methods or not issubclass(_kind(study, name), Denoised):
        known = [one for one in study.methods if issubclass(_kind(study, one), Denoised)]
        return None, [f"{place}: {name!r} is not a method of kind denoised; known: {listed(known, name)}"]
    try:
        found = study.method(name, dataset, noise)
    except ConfigError:
        return None, []
    return cast(Denoised, found), []


def _kind(study: "Study", name: str) -> type[MethodSpec]:
    """The kind of an entry of `methods`."""
    return spec_class("method", study.methods[name].kind)


def _adaptable(method: "FtCadis", study: "Study", dataset: str, model: str, resize: int | None) -> Iterator[str]:
    from certflow.denoising.stored import seen
    from certflow.models.adapters import problem

    info = seen(study.datasets[dataset].info(), resize)
    network = _without_weights(canonical_json(study.models[model].canonical()), info.classes, info.shape)
    found = None if network is None else problem(network, method.rank)
    if found is not None:
        yield f"{found} (model {model})"


@cache
def _without_weights(model: str, classes: int, shape: tuple[int, ...]) -> "torch.nn.Module | None":
    """A model entry's network on the meta device, which takes a moment; None where it cannot be built there."""
    import torch

    spec, info = revive("model", json.loads(model)), DataInfo(classes, shape)
    try:
        with torch.device("meta"):
            return spec.skeleton(spec.seen(info))
    except ValueError:  # the run itself says what is wrong, if anything is
        return None
