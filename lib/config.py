"""The configuration: named entries, checked all at once before anything runs, and combined by name into runs.

`load` turns the mapping that Snakemake read into a `Study`. Every problem is reported together, with its path in the file.
The `*_spec` methods give what each stage's result depends on, as plain JSON values with sorted keys: exactly that goes into a
rule's `params`, so that a change re-runs what it touches and nothing else.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import Field, ValidationError

from lib.certify.base import pairing_problems
from lib.data.base import DataInfo, DatasetSpec
from lib.data.corruptions.base import CorruptionSpec
from lib.data.subset import Images
from lib.denoising.base import DenoiserSpec
from lib.errors import ConfigError
from lib.models.base import ModelSpec
from lib.noise.base import NoiseSpec
from lib.presets import preset_settings, published_datasets
from lib.registry import spec_class
from lib.report import envelopes
from lib.report.settings import PlotSettings
from lib.sampling.base import ENGINE_REVISION, SamplerSpec
from lib.spec import Record, canonical_json
from lib.training.base import MethodSpec, Reference
from lib.training.places import fill
from lib.training.predictions import Predictions

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What an entry may be called: names become path segments."""

PICTURES = 3
"""Test images of which pictures are drawn, at each noise level."""

SECTIONS = {
    "datasets": "dataset",
    "corruptions": "corruption",
    "noises": "noise",
    "models": "model",
    "denoisers": "denoiser",
    "methods": "method",
    "samplers": "sampler",
    "certificates": "certificate",
}
"""Section of the configuration → family of its entries."""
CORRUPTED = "@"
"""Joins the names of an `images` entry, a `corruptions` entry and a corruption; occurs in no name."""


class PublishedCell(Record):
    """Which published numbers stand beside an experiment: the dataset and architecture names of `presets/published`."""

    dataset: str
    arch: str
    data: str | None = None
    """Name of our images where they are not the published ones (re-encoded copies, say); every comparison then says so."""
    model: str | None = None
    """Name of our network where it is not the published one."""


class Envelopes(Record):
    """Which published envelopes (best over noise levels) are said under a table; names as in `presets/envelopes`."""

    dataset: str
    arch: str


class ForeignResult(Record):
    """A per-image table made elsewhere, in the field's format (`idx label predict radius correct time`, tab-separated)."""

    label: str = Field(min_length=1)
    """Shown in the table's method column."""
    noise: str
    """Name of the noise entry it was certified under."""
    path: str
    seed: int = Field(0, ge=0)


class Experiment(Record):
    """One paper-style table: every method × noise × certificate, over seeds, on the same images."""

    dataset: str
    model: str
    images: str
    noises: list[str] = Field(min_length=1)
    methods: list[str] = Field(min_length=1)
    certificates: list[str] = Field(min_length=1)
    seeds: list[int] = Field([0], min_length=1)
    radii: list[float] = Field(min_length=1)
    """l2 radii of the table's columns, [0,1]-pixel units."""
    foreign: list[ForeignResult] = []
    corruptions: list[str] = []
    """Also certify corrupted copies of the images (entries of `corruptions`); a table of their own, the same models."""
    published: PublishedCell | None = None
    """Print the papers' numbers for the same cells beside ours."""
    envelopes: Envelopes | None = None
    """Say under the table what papers print as the best over several noise levels."""
    title: str = ""
    """The table's caption."""
    remark: str = ""
    """A sentence printed under the table: what a reader must know before comparing."""
    plot: PlotSettings = PlotSettings()


RECORDS = {"images": Images, "predictions": Predictions, "experiments": Experiment}
"""Section of the configuration whose entries are all of one kind → what they are."""


@dataclass(frozen=True)
class MethodEntry:
    """A method as written: its kind, the preset it starts from, and the user's own keys, which win."""

    kind: str
    preset: str | None
    preset_dataset: str | None
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """Names that identify one certificate table: the wildcards of its path."""

    dataset: str
    model: str
    method: str
    noise: str
    seed: int
    images: str
    sampler: str
    certificate: str


@dataclass(frozen=True)
class Study:
    """A checked configuration. Entries by name; specs of every stage by the names in its path."""

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
    certificates: Mapping[str, Any]
    experiments: Mapping[str, Experiment]

    def method(self, name: str, dataset: str, noise: str) -> MethodSpec:
        """The method's full recipe on a dataset at a noise level: defaults, then its preset's row, then the user's keys."""
        entry = self.methods[name]
        fields = dict(entry.own)
        if entry.preset is not None:
            kind = entry.preset_dataset or self.datasets[dataset].kind
            row = preset_settings(entry.preset, kind, entry.kind, self.noises[noise].sigma)
            fields = {**row, **fields}
        return _validate(spec_class("method", entry.kind), {"kind": entry.kind, **fields})

    def made_by(self, *rules: str) -> list[str]:
        """Names of the methods whose models one of these workflow rules makes."""
        return [
            name for name, entry in self.methods.items() if spec_class("method", entry.kind).rule(entry.own) in rules
        ]

    def trained(self) -> list[str]:
        """Names of the methods that train a model here, and so write a training log."""
        return self.made_by("train_model", "train_denoised")

    def references(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Reference]:
        """The other models that a model is made from, by role, sorted."""
        return dict(sorted(self.method(method, dataset, noise).references(model, noise, seed).items()))

    def denoiser_of(self, dataset: str, method: str, noise: str) -> str | None:
        """The denoiser entry that a method puts before its classifier, if it does."""
        return getattr(self.method(method, dataset, noise), "denoiser", None)

    def runs(self, experiment: str) -> Iterator[Run]:
        """Every certificate table of an experiment, in the order of its entries."""
        e = self.experiments[experiment]
        for certificate in e.certificates:
            sampler = self.certificates[certificate].sampler
            for noise in e.noises:
                for method in e.methods:
                    for seed in e.seeds:
                        yield Run(e.dataset, e.model, method, noise, seed, e.images, sampler, certificate)

    def copies(self, experiment: str) -> list[tuple[str, str]]:
        """(entry, name) of every corruption that an experiment evaluates."""
        entries = self.experiments[experiment].corruptions
        return [(entry, name) for entry in entries for name in self.corruptions[entry].chosen()]

    def corrupted_runs(self, experiment: str) -> Iterator[Run]:
        """Every certificate table of the corrupted copies of an experiment's images."""
        for entry, name in self.copies(experiment):
            for run in self.runs(experiment):
                yield replace(run, images=CORRUPTED.join((run.images, entry, name)))

    def image_sets(self) -> list[str]:
        """Names of everything that can be certified: the entries of `images`, and the corrupted copies of experiments."""
        corrupted = {run.images: None for experiment in self.experiments for run in self.corrupted_runs(experiment)}
        return [*self.images, *corrupted]

    def images_spec(self, name: str) -> dict[str, Any]:
        """Which images a name of `image_sets` stands for."""
        images, *corrupted = name.split(CORRUPTED)
        spec = self.images[images].model_dump(mode="json")
        if corrupted:
            entry, corruption = corrupted
            spec["corruption"] = self.corruptions[entry].of(corruption)
        return _plain(spec)

    def corruption_spec(self, dataset: str, entry: str, name: str) -> dict[str, Any]:
        """What corrupted copies depend on, besides the clean images and source files."""
        return _plain({"dataset": self.datasets[dataset].canonical(), "corruption": self.corruptions[entry].of(name)})

    def dataset_spec(self, dataset: str) -> dict[str, Any]:
        """What the prepared data depend on."""
        return _plain(self.datasets[dataset].canonical())

    def model_spec(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """What trained weights depend on, besides the images and a checkpoint that training starts from.

        `tables`: what the tables that the method reads are made from. `fine_tuned`: that there is such a checkpoint.
        """
        recipe = self.method(method, dataset, noise)
        tables = {
            name: self.predictions_spec(dataset, model, entry)
            for name, entry in self.tables(method, dataset, noise).items()
        }
        return _plain(
            {
                "dataset": self.datasets[dataset].canonical(),
                "model": self.models[model].architecture(),
                "method": recipe.canonical(),
                "noise": self.noises[noise].canonical(),
                "seed": seed,
                **({"tables": tables} if tables else {}),
                **({"fine_tuned": True} if recipe.start_from else {}),
                **self._parts(dataset, model, method, noise, seed),
            }
        )

    def _parts(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """`parts`: the specs of what a model is made from, by role; no such key for models made from images alone."""
        references = self.references(dataset, model, method, noise, seed)
        parts = {
            role: self.model_spec(dataset, of.model, of.method, of.noise, of.seed) for role, of in references.items()
        }
        denoiser = self.denoiser_of(dataset, method, noise)
        if denoiser is not None:
            parts["denoiser"] = self.denoisers[denoiser].canonical()
        return {"parts": parts} if parts else {}

    def denoiser_spec(self, dataset: str, denoiser: str, seed: int) -> dict[str, Any]:
        """What the weights of a denoiser that is trained by itself depend on, besides the images."""
        return _plain(
            {
                "dataset": self.datasets[dataset].canonical(),
                "denoiser": self.denoisers[denoiser].canonical(),
                "seed": seed,
            }
        )

    def start(self, method: str, dataset: str, noise: str, seed: int) -> str | None:
        """The checkpoint that training starts from, if the method names one."""
        pattern = self.method(method, dataset, noise).start_from
        return None if pattern is None else fill(pattern, noise, self.noises[noise].sigma, seed)

    def tables(self, method: str, dataset: str, noise: str) -> dict[str, str]:
        """The tables that a method reads while it trains → the entry that each is made from."""
        recipe = self.method(method, dataset, noise)
        return {name: getattr(recipe, name) for name in sorted(recipe.tables)}

    def predictions_spec(self, dataset: str, model: str, predictions: str) -> dict[str, Any]:
        """What smoothed predictions depend on, besides the weights of their base classifier."""
        entry = self.predictions[predictions]
        base = self.sample_spec(dataset, model, entry.method, entry.noise, entry.seed)
        return _plain({**base, "predictions": entry.settings()})

    def presample_spec(
        self, dataset: str, model: str, method: str, noise: str, seed: int, images: str, sampler: str
    ) -> dict[str, Any]:
        """What stage-1 counts depend on, besides the weights."""
        return _plain(
            {
                **self.sample_spec(dataset, model, method, noise, seed),
                "images": self.images_spec(images),
                "presample": self.samplers[sampler].presample(),
            }
        )

    def plan_spec(self, noise: str, sampler: str) -> dict[str, Any]:
        """What the plan depends on, besides stage-1 counts."""
        return _plain({"noise": self.noises[noise].canonical(), "sampler": self.samplers[sampler].canonical()})

    def sample_spec(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """What stage-2 counts depend on, besides weights and plan: the model's own spec, and how it is evaluated."""
        return _plain(
            {
                **self.model_spec(dataset, model, method, noise, seed),
                "model": self.models[model].canonical(),
                "engine": ENGINE_REVISION,
            }
        )

    def certificate_spec(self, noise: str, certificate: str) -> dict[str, Any]:
        """What radii depend on, besides plan and counts."""
        return _plain(
            {"noise": self.noises[noise].canonical(), "certificate": self.certificates[certificate].canonical()}
        )

    def table_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's table depends on, besides its certificates."""
        e = self.experiments[experiment]
        runs = [self._run_spec(run) for run in self.runs(experiment)]
        noises = {*e.noises, *(result.noise for result in e.foreign)}
        return _plain(
            {
                **e.model_dump(mode="json", include={"radii", "foreign", "published"}),
                "remark": self._remark(e),
                "title": e.title or f"Certified accuracy: {experiment}",
                "runs": runs,
                "sigmas": {name: self.noises[name].sigma for name in noises},
                "published_as": {name: self._published_as(name) for name in e.methods},
                "split": self.images[e.images].split,
            }
        )

    @staticmethod
    def _remark(e: Experiment) -> str:
        """The experiment's own remark, and the published envelopes that it asks for."""
        told = "" if e.envelopes is None else envelopes.sentence(e.envelopes.dataset, e.envelopes.arch)
        return " ".join(part for part in (e.remark, told) if part)

    def corruption_table_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's table of corrupted copies depends on, besides the certificates."""
        e, shared = self.experiments[experiment], self.table_spec(experiment)
        copies = []
        for run in self.corrupted_runs(experiment):
            _, entry, name = run.images.split(CORRUPTED)
            copies.append({**self._run_spec(run), "entry": entry, "corruption": name})
        kind = self.datasets[e.dataset].kind
        entries = {
            entry: {
                "clean": sorted(self.corruptions[entry].clean),
                "published": self.corruptions[entry].published_as(kind),
            }
            for entry in e.corruptions
        }
        keys = ("radii", "runs", "sigmas", "published", "published_as", "split", "title")
        return _plain({**{key: shared[key] for key in keys}, "copies": copies, "entries": entries})

    def _run_spec(self, run: Run) -> dict[str, Any]:
        """A run's names, and what its certificate table must have been made from."""
        return {
            **{key: getattr(run, key) for key in ("method", "noise", "certificate", "seed")},
            "spec": {
                **self.certificate_spec(run.noise, run.certificate),
                "sampler": self.samplers[run.sampler].canonical(),
                "images": self.images_spec(run.images),
            },
        }

    def _published_as(self, method: str) -> str:
        """The name under which papers' numbers stand beside a method: its kind, if it is a papers' recipe as it is."""
        entry = self.methods[method]
        return entry.kind if entry.preset is not None and not entry.own else ""

    def denoised_runs(self, experiment: str) -> list[Run]:
        """The models of an experiment that denoise, each once, of its first seed."""
        e = self.experiments[experiment]
        found = {}
        for run in self.runs(experiment):
            denoises = self.denoiser_of(e.dataset, run.method, run.noise) is not None
            if denoises and run.seed == e.seeds[0]:
                found.setdefault((run.method, run.noise), run)
        return list(found.values())

    def strip_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's pictures of denoised images depend on, besides its models."""
        e = self.experiments[experiment]
        runs = [
            {
                "method": run.method,
                "noise": run.noise,
                "spec": self.model_spec(run.dataset, run.model, run.method, run.noise, run.seed),
            }
            for run in self.denoised_runs(experiment)
        ]
        return _plain(
            {"dataset": self.datasets[e.dataset].canonical(), "seed": e.seeds[0], "images": PICTURES, "runs": runs}
        )

    def figure_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's figures depend on, besides its certificates."""
        return _plain(
            {**self.table_spec(experiment), "plot": self.experiments[experiment].plot.model_dump(mode="json")}
        )


def load(raw: Mapping[str, Any], source: str = "config.yaml") -> Study:
    """Check a configuration and resolve it, or raise one `ConfigError` with every problem found.

    raw: the mapping as read from YAML, overlays already merged. source: how messages call the file.
    """
    problems: list[str] = []
    known = {*SECTIONS, *RECORDS, "targets"}
    problems += [f"{key}: no such section; known: {', '.join(sorted(known))}" for key in raw if key not in known]
    entries: dict[str, dict[str, Any]] = {}
    for section in (*SECTIONS, *RECORDS):
        entries[section] = _section(raw, section, problems)
    parsed = {section: {} for section in entries}
    for section, name, fields in ((s, n, f) for s in entries for n, f in entries[s].items()):
        try:
            parsed[section][name] = _entry(section, fields)
        except ConfigError as error:
            problems += [_under(f"{section}.{name}", line) for line in error.problems]
    targets = raw.get("targets", [])
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        problems.append(f"targets: must be a list of experiment names, got {targets!r}")
        targets = []
    study = Study(targets=tuple(targets), **parsed)
    problems += [
        f"targets: no experiment {name!r}; known: {_listed(entries['experiments'])}"
        for name in targets
        if name not in entries["experiments"]
    ]
    for name in parsed["certificates"]:
        sampler = parsed["certificates"][name].sampler
        if sampler not in entries["samplers"]:
            problems.append(
                f"certificates.{name}.sampler: no sampler {sampler!r}; known: {_listed(entries['samplers'])}"
            )
    for name, sampler in parsed["samplers"].items():
        problems += [f"samplers.{name}: {line}" for line in sampler.problems()]
    for name in parsed["predictions"]:
        problems += [f"predictions.{name}.{line}" for line in _predictions_problems(study, name, entries)]
    for name in parsed["experiments"]:
        problems += [f"experiments.{name}.{line}" for line in _experiment_problems(study, name, entries)]
    if problems:
        raise ConfigError(problems, source)
    return study


def _section(raw: Mapping[str, Any], section: str, problems: list[str]) -> dict[str, Any]:
    """The named entries of a section; problems of its shape are appended."""
    value = raw.get(section, {})
    if not isinstance(value, Mapping):
        problems.append(f"{section}: must be a mapping from names to entries, got {value!r}")
        return {}
    good = {}
    for name, fields in value.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(
                f"{section}.{name}: a name is made of letters, digits and ._+- and becomes a folder; quote numbers"
            )
        elif not isinstance(fields, Mapping):
            problems.append(f"{section}.{name}: must be a mapping of settings, got {fields!r}")
        else:
            good[name] = dict(fields)
    return good


def _entry(section: str, fields: dict[str, Any]) -> Any:
    """One parsed entry; a `ConfigError` whose lines start with the field's path within it."""
    if section in RECORDS:
        return _validate(RECORDS[section], fields)
    if not isinstance(fields.get("kind"), str):
        raise ConfigError([f"kind: is missing; say which kind of {SECTIONS[section]} this is"])
    cls = spec_class(SECTIONS[section], fields["kind"])
    if section != "methods":
        return _validate(cls, fields)
    own = {key: value for key, value in fields.items() if key not in ("kind", "preset", "preset_dataset")}
    _validate(cls, {"kind": fields["kind"], **own})
    if "preset_dataset" in fields and "preset" not in fields:
        raise ConfigError(["preset_dataset: has a meaning together with `preset` only"])
    return MethodEntry(fields["kind"], fields.get("preset"), fields.get("preset_dataset"), own)


def _validate(cls: type[Record], fields: Mapping[str, Any]) -> Any:
    """An instance of `cls`, or a `ConfigError` with one line for each wrong field, in a person's words."""
    try:
        text = json.dumps(fields)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"holds a value that is no plain YAML value ({error})"]) from None
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError([_explain(cls, problem) for problem in error.errors()]) from None


def _explain(cls: type[Record], problem: Mapping[str, Any]) -> str:
    """`path: what is wrong, got what` from one of pydantic's error records."""
    path, records = _located(cls, problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = [name for name in records[0].model_fields if name != "kind"]
        return f"{path}: no such setting; known: {', '.join(fields) or 'none'}"
    if problem["type"] == "missing":
        return f"{path}: is missing"
    if problem["type"].startswith("union_tag"):
        key = problem["ctx"]["discriminator"].strip("'")
        known = ", ".join(record.model_fields[key].default for record in records)
        return f"{path}.{key}: must be one of {known}, got {problem['ctx'].get('tag')!r}"
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{path}: {message}, got {problem['input']!r}" if path else f": {message}"


def _located(cls: type[Record], place: Sequence[str | int]) -> tuple[str, list[type[Record]]]:
    """The path as it was written, without the tags that pydantic puts where records can be of several kinds, and the records
    that it leads to: that of an unknown setting, or those that a setting may hold."""
    path, holders = [], [cls]
    for part in place:
        tagged = [holder for holder in holders if any(field.default == part for field in holder.model_fields.values())]
        if len(holders) > 1 and tagged:
            holders = tagged
            continue
        path.append(str(part))
        holders = [
            record
            for holder in holders
            if part in holder.model_fields
            for record in _records(holder.model_fields[part].annotation)
        ] or holders
    return ".".join(path), holders


def _records(annotation: Any) -> list[type[Record]]:
    """The records that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [record for part in get_args(annotation) for record in _records(part)]


def _under(place: str, line: str) -> str:
    """A problem's line with the place of its entry before it; a line that starts with a colon is about the whole entry."""
    return f"{place}{line}" if line.startswith(":") else f"{place}.{line}"


def _experiment_problems(study: Study, name: str, entries: Mapping[str, Mapping]) -> Iterator[str]:
    """Unknown names first; impossible pairs among those that are known."""
    e = study.experiments[name]
    wanted = {
        "dataset": ("datasets", [e.dataset]),
        "model": ("models", [e.model]),
        "images": ("images", [e.images]),
        "noises": ("noises", [*e.noises, *(result.noise for result in e.foreign)]),
        "methods": ("methods", e.methods),
        "certificates": ("certificates", e.certificates),
        "corruptions": ("corruptions", e.corruptions),
    }
    complete = True
    for key, (section, names) in wanted.items():
        for missing in sorted({n for n in names if n not in entries[section]}):
            yield f"{key}: no entry {missing!r} in {section}; known: {_listed(entries[section])}"
        for value in sorted({n for n in names if names.count(n) > 1 and key != "noises"}):
            yield f"{key}: {value!r} is listed twice"
        complete = complete and all(n in getattr(study, section) for n in names)
    if len(set(e.seeds)) < len(e.seeds) or min(e.seeds) < 0 or max(e.seeds) >= 2**64:
        yield f"seeds: must be different, not negative and below 2**64, got {e.seeds}"
    if len(set(e.noises)) < len(e.noises):
        yield f"noises: one is listed twice, got {e.noises}"
    theirs = [(result.label, result.noise, result.seed) for result in e.foreign]
    if len(set(theirs)) < len(theirs):
        yield "foreign: two results have the same label, noise and seed; give them different labels, or seeds of one line"
    if e.published is not None and e.published.dataset not in published_datasets():
        known = ", ".join(published_datasets())
        yield f"published.dataset: no published numbers of {e.published.dataset!r}; known: {known}"
    if e.envelopes is not None and not envelopes.envelopes(e.envelopes.dataset, e.envelopes.arch):
        yield f"envelopes: none of {e.envelopes.dataset} {e.envelopes.arch}; known: {', '.join(envelopes.known())}"
    if sorted(set(e.radii)) != e.radii or e.radii[0] < 0:
        yield f"radii: must increase and not be negative, got {e.radii}"
    if complete:
        yield from _pair_problems(study, e)


def _predictions_problems(study: Study, name: str, entries: Mapping[str, Mapping]) -> Iterator[str]:
    """Unknown names, and a base classifier that would wait for smoothed predictions itself."""
    entry = study.predictions[name]
    for key, section in (("method", "methods"), ("noise", "noises")):
        value = getattr(entry, key)
        if value not in entries[section]:
            yield f"{key}: no entry {value!r} in {section}; known: {_listed(entries[section])}"
    base = study.methods.get(entry.method)
    if base is not None and spec_class("method", base.kind).tables:
        yield f"method: {entry.method} learns from smoothed predictions itself; name one that does not"


def _corruption_problems(study: Study, e: Experiment, info: DataInfo) -> Iterator[str]:
    """Corrupted copies that there cannot be of an experiment's images."""
    for entry in e.corruptions:
        for line in study.corruptions[entry].problems(info):
            yield f"corruptions: {entry} on {e.dataset}: {line}"
    if e.corruptions and study.images[e.images].split != "test":
        yield f"corruptions: there are copies of test images only; {e.images} takes the {study.images[e.images].split} split"


def _table_problems(study: Study, e: Experiment, recipe: MethodSpec) -> Iterator[str]:
    """What stands in the way of the tables that a method reads on the data of an experiment."""
    for table in sorted(recipe.tables):
        name = getattr(recipe, table)
        entry = study.predictions.get(name)
        if entry is None:
            yield f"{table}: no entry {name!r} in predictions; known: {_listed(study.predictions)}"
        elif entry.method in study.methods and entry.noise in study.noises:
            try:
                study.method(entry.method, e.dataset, entry.noise)
            except ConfigError as error:
                yield from (f"{table}: {name}: {line.lstrip(': ')}" for line in error.problems)
            for line in study.noises[entry.noise].problems(study.datasets[e.dataset].info().dim):
                yield f"{table}: {name}: {line}"


def _training_problems(recipe: MethodSpec, noise: NoiseSpec) -> Iterator[str]:
    """Why a method cannot train under a noise."""
    yield from recipe.problems(noise)
    if recipe.noise_warmup and not noise.warms_up:
        yield f"noise_warmup: noise of kind {noise.kind} has no warm-up; set it to 0"


def _pair_problems(study: Study, e: Experiment) -> Iterator[str]:
    """Combinations that cannot work, found before anything runs."""
    info = study.datasets[e.dataset].info()
    for line in study.models[e.model].problems(info):
        yield f"model: {e.model} on {e.dataset}: {line}"
    if info.size is not None:
        try:
            study.images[e.images].indices(info.size[study.images[e.images].split])
        except ValueError as error:
            yield f"images: {e.images} on {e.dataset}: {error}"
    yield from _corruption_problems(study, e, info)
    norms = {study.certificates[certificate].norm for certificate in e.certificates}
    if len(norms) > 1:
        yield f"certificates: radii in {' and '.join(sorted(norms))} do not fit one table; make an experiment of each"
    for noise in e.noises:
        for line in study.noises[noise].problems(info.dim):
            yield f"noises: {noise} on {e.dataset}: {line}"
        for method in e.methods:
            try:
                recipe = study.method(method, e.dataset, noise)
                for line in _training_problems(recipe, study.noises[noise]):
                    yield f"methods: {method} at {noise} on {e.dataset}: {line}"
                yield from (
                    f"methods: {method} at {noise} on {e.dataset}: {line}"
                    for line in recipe.pairing_problems(study, method, e.dataset, e.model, noise)
                )
                if not recipe.trains and len(e.seeds) > 1 and "{seed" not in recipe.checkpoint:
                    yield f"seeds: {method} brings one checkpoint for all seeds; write {{seed}} into its path or list one seed"
                for line in _table_problems(study, e, recipe):
                    yield f"methods: {method} at {noise} on {e.dataset}: {line}"
            except ConfigError as error:
                yield from (
                    f"methods: {method} at {noise} on {e.dataset}: {line.lstrip(': ')}" for line in error.problems
                )
        for certificate in e.certificates:
            spec = study.certificates[certificate]
            sampler = study.samplers.get(spec.sampler)
            if sampler is not None:
                law = study.noises[noise]
                for line in pairing_problems(spec, law, sampler):
                    yield f"certificates: {certificate} at {noise}: {line}"
                for line in sampler.noise_problems(law):
                    yield f"certificates: {certificate} at {noise}: samplers.{spec.sampler}: {line}"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"


def _plain(value: Any) -> Any:
    """The same JSON value with keys sorted at every level: Snakemake compares params by their text."""
    return json.loads(canonical_json(value))
