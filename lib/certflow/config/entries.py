"""The checked entries, and what their names stand for when they are combined."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from certflow.attacks.base import AttackSpec
from certflow.certify.base import CertificateSpec, pairing_problems
from certflow.certify.preview import preview_problems
from certflow.config.records import (
    AttackRun,
    CountsRun,
    Diagnosis,
    Experiment,
    KnowledgeRun,
    MethodEntry,
    ModelKey,
    Run,
)
from certflow.config.validation import validated
from certflow.data.base import DatasetSpec
from certflow.data.corruptions.base import CorruptionSpec
from certflow.data.corruptions.naming import copies_name
from certflow.data.subset import Images
from certflow.denoising.base import DenoiserSpec
from certflow.files.paths import made_here
from certflow.kinds.registry import spec_class
from certflow.knowledge.settings import Knowledge
from certflow.models.base import ModelSpec
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.presets import preset_settings
from certflow.sampling.base import SamplerSpec
from certflow.training.base import MethodSpec, Reference
from certflow.training.predictions import Predictions


@dataclass(frozen=True)
class Entries:
    """The entries of a configuration by section and name, and the runs that experiments make of them."""

    targets: tuple[str, ...]
    datasets: Mapping[str, DatasetSpec]
    corruptions: Mapping[str, CorruptionSpec]
    images: Mapping[str, Images]
    noises: Mapping[str, NoiseSpec]
    models: Mapping[str, ModelSpec]
    denoisers: Mapping[str, DenoiserSpec]
    methods: Mapping[str, MethodEntry]
    predictions: Mapping[str, Predictions]
    samplers: Mapping[str, SamplerSpec]
    certificates: Mapping[str, CertificateSpec]
    attacks: Mapping[str, AttackSpec]
    knowledge: Mapping[str, Knowledge]
    experiments: Mapping[str, Experiment]
    diagnoses: Mapping[str, Diagnosis]

    def method(self, name: str, dataset: str, noise: str) -> MethodSpec:
        """The method's full recipe on a dataset at a noise level: defaults, then its preset's row, then the user's keys."""
        if (name, dataset, noise) not in self._recipes:
            entry = self.methods[name]
            fields = dict(entry.own)
            if entry.preset is not None:
                fields = {**preset_settings(entry.preset, *self.preset_key(name, dataset, noise)), **fields}
            recipe = validated(spec_class("method", entry.kind), {"kind": entry.kind, **fields}, stated=entry.own)
            self._recipes[name, dataset, noise] = recipe
        return self._recipes[name, dataset, noise]

    @cached_property
    def _recipes(self) -> dict[tuple[str, str, str], MethodSpec]:
        """Results of `method`, kept because Snakemake asks for the same few recipes once for every job and file."""
        return {}

    def preset_key(self, name: str, dataset: str, noise: str) -> tuple[str, str, str, float]:
        """What a method's row of its preset is looked up by: kinds of dataset, method and noise, and the noise level."""
        entry, law = self.methods[name], self.noises[noise]
        return entry.preset_dataset or self.datasets[dataset].kind, entry.kind, law.kind, law.sigma

    def trained(self) -> list[str]:
        """Names of the methods that train a model here, and so write a training log."""
        kinds = {name: spec_class("method", entry.kind) for name, entry in self.methods.items()}
        return [name for name, kind in kinds.items() if kind.learning(self.methods[name].own) is not None]

    def references(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Reference]:
        """The other models that a model is made from, by role, sorted."""
        return dict(sorted(self.method(method, dataset, noise).references(model, noise, seed).items()))

    def denoiser_of(self, dataset: str, method: str, noise: str) -> str | None:
        """The denoiser entry that stands before a method's classifier, if one does."""
        return self.method(method, dataset, noise).denoiser_entry(self, dataset, noise)

    def own_denoiser(self, dataset: str, method: str, noise: str) -> str | None:
        """The denoiser entry that a method's model is made from, if it is."""
        return self.method(method, dataset, noise).own_denoiser()

    def brought(self, dataset: str, method: str, noise: str, seed: int) -> dict[str, str]:
        """The user's own files that a model is made from, by role: `checkpoint`, `start`, `denoiser` or `denoiser.<number>`.

        A start below `results/` is not one of them: the workflow makes it.
        """
        files = self.method(method, dataset, noise).brought(noise, self.noises[noise].sigma, seed)
        denoiser = self.own_denoiser(dataset, method, noise)
        files |= {} if denoiser is None else self.denoisers[denoiser].brought()
        return {role: path for role, path in files.items() if not made_here(path)}

    def checkpoint(self, method: str, dataset: str, noise: str, seed: int) -> str | None:
        """The file that a model is imported from, or that its training starts from, if the method names one."""
        files = self.method(method, dataset, noise).brought(noise, self.noises[noise].sigma, seed)
        return next(iter(files.values()), None)

    def tables(self, method: str, dataset: str, noise: str) -> dict[str, str]:
        """The tables that a method reads while it trains → the entry that each is made from."""
        recipe = self.method(method, dataset, noise)
        return {name: getattr(recipe, name) for name in sorted(recipe.tables)}

    def made_from(self, key: ModelKey) -> list[ModelKey]:
        """The models that one is made from itself: parts, and the base classifiers of what it learns from."""
        dataset, model, method, noise, _ = key
        bases = (self.predictions[name] for name in self.tables(method, dataset, noise).values())
        return [
            *(key._replace(**vars(of)) for of in self.references(*key).values()),
            *(ModelKey(dataset, model, of.method, of.noise, of.seed) for of in bases),
        ]

    def needed(self, models: Iterable[ModelKey]) -> list[ModelKey]:
        """These models, each once, and all that they are made from."""
        found: dict[ModelKey, None] = {}
        waiting = list(models)
        while waiting:
            key = waiting.pop(0)
            if key not in found:
                found[key] = None
                waiting += self.made_from(key)
        return list(found)

    def runs(self, experiment: str) -> Iterator[Run]:
        """Every certificate table of an experiment, in the order of its entries."""
        e = self.experiments[experiment]
        for noise, certificate in self.pairs(e):
            sampler = self.certificates[certificate].sampler
            for key in _models(e, [noise]):
                yield Run(*key, e.images, sampler, certificate)

    def pairs(self, e: Experiment) -> list[tuple[str, str]]:
        """(noise, certificate) of an experiment's table, certificates first: all, or with `pairs: possible` those that fit."""
        return [
            (noise, certificate)
            for certificate in e.certificates
            for noise in e.noises
            if e.pairs == "all" or not self.misfits(e.dataset, noise, certificate)
        ]

    def misfits(self, dataset: str, noise: str, certificate: str) -> list[str]:
        """Why a certificate of a dataset's images is impossible under a noise (empty: it is possible, or its sampler is wrong
        itself, which is reported elsewhere)."""
        spec, law = self.certificates[certificate], self.noises[noise]
        sampler = self.samplers.get(spec.sampler)
        if sampler is None:
            return []
        dim = self.datasets[dataset].info().dim
        refused = [f"samplers.{spec.sampler}: {line}" for line in sampler.noise_problems(law, dim)]
        return [*pairing_problems(spec, law, sampler), *refused]

    def page(self, name: str) -> Experiment | Diagnosis:
        """The experiment or the diagnosis of this name."""
        return self.experiments[name] if name in self.experiments else self.diagnoses[name]

    def knowledge_runs(self, diagnosis: str) -> list[KnowledgeRun]:
        """Every model of a diagnosis, in the order of its entries."""
        d = self.diagnoses[diagnosis]
        return [KnowledgeRun(*key, d.knowledge) for key in _models(d, d.noises)]

    def compared_runs(self, diagnosis: str) -> list[KnowledgeRun]:
        """The models of the experiment that a diagnosis is put beside, each once; none without one."""
        d = self.diagnoses[diagnosis]
        runs = () if d.beside is None else self.runs(d.beside)
        models = dict.fromkeys(run.of_model for run in runs)
        return [KnowledgeRun(*key, d.knowledge) for key in models]

    def page_models(self, name: str) -> list[ModelKey]:
        """The models of an experiment or of a diagnosis, each once."""
        diagnosed = name in self.diagnoses
        runs = [*self.knowledge_runs(name), *self.compared_runs(name)] if diagnosed else self.runs(name)
        return list(dict.fromkeys(run.of_model for run in runs))

    def attack_runs(self, name: str) -> list[AttackRun]:
        """Every attack table of an experiment or a diagnosis, in the order of its entries."""
        e = self.page(name)
        if e.images is None:
            return []
        return [AttackRun(*key, e.images, attack) for attack in e.attacks for key in _models(e, e.noises)]

    def preview_runs(self, experiment: str) -> list[CountsRun]:
        """Every file of counts that an experiment's table is estimated from, in the order of its entries."""
        e = self.experiments[experiment]
        if e.preview is None:
            return []
        fit = [name for name in e.noises if e.pairs == "all" or not self.preview_misfits(e, name)]
        return [CountsRun(*key, e.images, e.preview.sampler) for key in _models(e, fit)]

    def preview_misfits(self, e: Experiment, noise: str) -> list[str]:
        """Why an experiment's preview cannot be estimated under a noise (empty: it can, or none is asked for)."""
        if e.preview is None:
            return []
        sampler, law = self.samplers[e.preview.sampler], self.noises[noise]
        return preview_problems(law, sampler, self.norm(e), self.datasets[e.dataset].info().dim)

    def norm(self, e: Experiment) -> Norm:
        """The norm of an experiment's radii, in which all its certificates are."""
        return self.certificates[e.certificates[0]].norm

    def copies(self, experiment: str) -> list[tuple[str, str]]:
        """(entry, name) of every corruption that an experiment evaluates."""
        entries = self.experiments[experiment].corruptions
        return [(entry, name) for entry in entries for name in self.corruptions[entry].chosen()]

    def corrupted_runs(self, experiment: str) -> Iterator[Run]:
        """Every certificate table of the corrupted copies of an experiment's images."""
        for entry, name in self.copies(experiment):
            for run in self.runs(experiment):
                yield replace(run, images=copies_name(run.images, entry, name))

    def image_sets(self) -> list[str]:
        """Names of everything that can be certified: the entries of `images`, and the corrupted copies of experiments."""
        corrupted = {run.images: None for experiment in self.experiments for run in self.corrupted_runs(experiment)}
        return [*self.images, *corrupted]

    def trained_runs(self, experiment: str) -> list[Run]:
        """The models of an experiment that are trained here, each once."""
        trained, found = self.trained(), {}
        for run in self.runs(experiment):
            if run.method in trained:
                found.setdefault(run.of_model, run)
        return list(found.values())

    def denoised_runs(self, experiment: str) -> list[Run]:
        """The models of an experiment that denoise, each once, of its first seed."""
        e = self.experiments[experiment]
        found = {}
        for run in self.runs(experiment):
            denoises = self.denoiser_of(e.dataset, run.method, run.noise) is not None
            if denoises and run.seed == e.seeds[0]:
                found.setdefault((run.method, run.noise), run)
        return list(found.values())


def _models(e: Experiment | Diagnosis, noises: Iterable[str]) -> list[ModelKey]:
    """The models of an experiment or a diagnosis at these noises, in the order of its entries."""
    return [
        ModelKey(e.dataset, e.model, method, noise, seed)
        for noise in noises
        for method in e.methods
        for seed in e.seeds
    ]
