"""What an experiment or a diagnosis costs before anything runs: jobs, device hours and disk of every stage, from rates."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from certflow.config import Run, Study
from certflow.config.records import AttackRun, CountsRun, ModelKey
from certflow.data.corruptions.naming import copies_parts
from certflow.errors import ConfigError, listed
from certflow.sampling.ways import WAYS
from certflow.training.base import MethodSpec
from certflow.training.predictions import Predictions
from certflow.workflow.making import rule_of
from certflow.workflow.rates import Rates

TABLE_BYTES = 250
"""Bytes of one image's row in a certificate table and its plan."""
REPORT_BYTES = 3_000_000
"""Bytes of an experiment's tables, figures and page."""
FEATURES = 1000
"""Numbers kept of one point over all layers, roughly: its pixels and some hundreds of channels."""


@dataclass
class Stage:
    """One rule's share: number of jobs, device hours of all of them and of the longest (None: no rate), bytes on disk."""

    rule: str
    jobs: int = 0
    hours: float | None = 0.0
    longest: float = 0.0
    size: int = 0

    def add(self, hours: float | None, size: int = 0, jobs: int = 1) -> None:
        """Count `jobs` jobs that take `hours` together."""
        self.jobs += jobs
        self.size += size
        if hours is None or self.hours is None:
            self.hours = None
            return
        self.hours += hours
        self.longest = max(self.longest, hours / jobs)


@dataclass
class Plan:
    """What an experiment needs, stage by stage; `remarks` say what the numbers leave out."""

    experiment: str
    rates: Rates
    networks: set[str]
    shards: int
    stages: list[Stage]
    remarks: list[str] = field(default_factory=list)
    ways: list[tuple[str, float, float | None, str]] = field(default_factory=list)
    """Ways to this table: name, draws per image, device hours of sampling (None: no rate), source of the draws."""

    @property
    def jobs(self) -> int:
        return sum(stage.jobs for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """Device hours of all stages; None where a rate is missing."""
        hours = [stage.hours for stage in self.stages if stage.hours is not None]
        return math.fsum(hours) if len(hours) == len(self.stages) else None

    @property
    def size(self) -> int:
        """Bytes under `results/` and of decoded images."""
        return sum(stage.size for stage in self.stages)


def cost_of(study: Study, experiment: str, rates: Rates, *, shards: int = 1, mean_draws: int | None = None) -> Plan:
    """The plan of one experiment or diagnosis of a checked configuration.

    shards: jobs per model and sampler in stage 2. mean_draws: stage-2 draws per image to count with, instead of what each
    sampler itself says.
    """
    if experiment not in study.experiments and experiment not in study.diagnoses:
        known = listed([*study.experiments, *study.diagnoses], experiment)
        raise ConfigError([f"no experiment or diagnosis {experiment!r}; known: {known}"], "command line")
    estimate = _Estimate(study, rates, shards, mean_draws)
    ways = []
    if experiment in study.diagnoses:
        stages = estimate.diagnosis(experiment)
    else:
        runs = [*study.runs(experiment), *study.corrupted_runs(experiment)]
        sampled = [*runs, *study.preview_runs(experiment)]
        stages = [
            *estimate.data(experiment),
            *estimate.models([run.of_model for run in runs]),
            *estimate.draws(sampled),
        ]
        stages += estimate.products(experiment, runs)
        ways = estimate.ways(runs)
    return Plan(experiment, rates, estimate.networks, shards, stages, estimate.remarks, ways)


@dataclass(frozen=True)
class _Estimate:
    """Counts jobs stage by stage, and collects what could not be counted and the networks that rates were asked of."""

    study: Study
    rates: Rates
    shards: int
    mean_draws: int | None
    remarks: list[str] = field(default_factory=list)
    networks: set[str] = field(default_factory=set)

    def remark(self, line: str) -> None:
        if line not in self.remarks:
            self.remarks.append(line)

    def network(self, made: ModelKey) -> str:
        """How rates call a model: its kind and size (`ModelSpec.size_name`); behind a denoiser, `<denoiser>+<kind>`."""
        name = self.study.models[made.model].size_name
        denoiser = self.study.denoiser_of(made.dataset, made.method, made.noise)
        return name if denoiser is None else f"{denoiser}+{name}"

    def drawing(self, made: ModelKey, passes: float | None) -> float | None:
        """Hours of so many draws of a model."""
        native = self.study.models[made.model].inference.native
        return self.hours("sampling", self.network(made), made.dataset, passes, native=native)

    def hours(self, what: str, network: str, dataset: str, passes: float | None, *, native: bool) -> float | None:
        """Hours that the passes take at the network's rate; None, and a remark, where their number or the rate is unknown."""
        self.networks.add(network)
        line = {"sampling": self.rates.draws, "training": self.rates.training}[what].get(network)
        if passes is None:
            self.remark(f"size of {dataset} unknown")
        elif line is None:
            self.remark(f"no {what} rate of {network} on {self.rates.device}")
        return None if line is None or passes is None else passes / line.per_second(native=native) / 3600

    def data(self, experiment: str) -> list[Stage]:
        """Preparation; images that fit in memory are decoded once, one byte per value."""
        name = self.study.page(experiment).dataset
        info, clean, copies = self.study.datasets[name].info(), Stage("prepare_data"), Stage("prepare_copies")
        size = {} if info.augmentation == "resized_crop_flip" or info.size is None else info.size
        clean.add(0.0, sum(size.values()) * math.prod(info.shape))
        for entry, _ in self.study.copies(experiment) if experiment in self.study.experiments else ():
            levels = len(self.study.corruptions[entry].levels())
            copies.add(0.0, levels * size.get("test", 0) * math.prod(info.shape))
        return [stage for stage in (clean, copies) if stage.jobs]

    def models(self, keys: Sequence[ModelKey]) -> list[Stage]:
        """Each model once, those that others are made from included, and votes of base classifiers."""
        made = self.study.needed(keys)
        stages: dict[str, Stage] = {}
        for dataset, denoiser, _seed in self.denoisers(made):
            stage = stages.setdefault("train_denoiser", Stage("train_denoiser"))
            self.train(stage, denoiser, dataset, self.study.denoisers[denoiser].train)
        for one in made:
            rule = rule_of(self.study, one.method)
            recipe = self.study.method(one.method, one.dataset, one.noise)
            trains = one.method in self.study.trained()
            self.train(stages.setdefault(rule, Stage(rule)), self.network(one), one.dataset, recipe if trains else None)
        votes, merge = Stage("smooth_predictions"), Stage("merge_predictions")
        for (dataset, model, _), entry in self.predictions(made).items():
            self.vote(votes, ModelKey(dataset, model, entry.method, entry.noise, entry.seed), entry.n)
            merge.add(0.0)
        return [*stages.values(), *(stage for stage in (votes, merge) if stage.jobs)]

    def predictions(self, made: Iterable[ModelKey]) -> dict[tuple[str, str, str], Predictions]:
        """(dataset, model, name) → entry of `predictions`, for all that these models learn from."""
        return {
            (one.dataset, one.model, name): self.study.predictions[name]
            for one in made
            for name in self.study.tables(one.method, one.dataset, one.noise).values()
        }

    def denoisers(self, made: Iterable[ModelKey]) -> list[tuple[str, str, int]]:
        """(dataset, denoiser, seed) of those that are trained by themselves."""
        found: dict[tuple[str, str, int], None] = {}
        for one in made:
            denoiser = self.study.own_denoiser(one.dataset, one.method, one.noise)
            if denoiser is not None and self.study.denoisers[denoiser].train is not None:
                found[one.dataset, denoiser, one.seed] = None
        return list(found)

    def train(self, stage: Stage, network: str, dataset: str, recipe: MethodSpec | None) -> None:
        """The weights of one network; recipe None: they are brought along or put together."""
        weights, size = 4 * self.rates.parameters.get(network, 0), self.study.datasets[dataset].info().size
        if not weights:
            self.remark(f"size of {network} unknown: its checkpoints are not counted")
        if recipe is None:
            stage.add(0.0, weights)
        else:
            passes = None if size is None else recipe.epochs * size["train"] * recipe.cost
            stage.add(self.hours("training", network, dataset, passes, native=recipe.native), weights)

    def vote(self, stage: Stage, base: ModelKey, n: int) -> None:
        """Votes on every training image of a dataset."""
        info = self.study.datasets[base.dataset].info()
        images = None if info.size is None else info.size["train"]
        hours = self.drawing(base, None if images is None else images * n)
        stage.add(hours, 2 * 8 * (images or 0) * info.classes, self.shards)

    def ways(self, runs: Sequence[Run]) -> list[tuple[str, float, float | None, str]]:
        """What sampling all models of the runs would take in each way: see `Plan.ways`."""
        found = {(run.of_model, run.images): run for run in runs}.values()
        each = [self.drawing(run.of_model, self.images(run)) for run in found]
        known = [hours for hours in each if hours is not None]
        hours = math.fsum(known) if len(known) == len(each) else None
        return [
            (name, way.draws, None if hours is None else hours * way.draws, way.source) for name, way in WAYS.items()
        ]

    def draws(self, runs: Sequence[CountsRun]) -> list[Stage]:
        """Both stages of sampling; counts are int64 per image and class, compressed to less."""
        first, plan = Stage("presample_counts"), Stage("plan_draws")
        second, merge = Stage("sample_counts"), Stage("merge_counts")
        for run in {CountsRun(*run.of_model, run.images, run.sampler): run for run in runs}.values():
            images, sampler = self.images(run), self.study.samplers[run.sampler]
            n = self.mean_draws or sampler.cost(self.study.noises[run.noise])
            if n is None:
                self.remark(f"sampler {run.sampler} does not say how many draws it makes; give --mean-draws")
            counts = 8 * (images or 0) * self.study.datasets[run.dataset].info().classes
            hours = self.drawing(run.of_model, images)
            first.add(None if hours is None else hours * sampler.n0, counts)
            plan.add(0.0, (images or 0) * TABLE_BYTES)
            second.add(None if hours is None or n is None else hours * n, counts, self.shards)
            merge.add(0.0, counts)
        return [first, plan, second, merge]

    def certificates(self, runs: Sequence[Run]) -> Stage:
        """Certificate tables."""
        stage = Stage("certify_radii")
        for run in runs:
            stage.add(0.0, (self.images(run) or 0) * TABLE_BYTES)
        return stage

    def products(self, experiment: str, runs: Sequence[Run]) -> list[Stage]:
        """Certificates, and what a reader sees."""
        stages = [
            self.certificates(runs),
            *self.attacks(experiment),
            Stage("write_table, plot_figures, write_report", 3, size=REPORT_BYTES),
        ]
        if self.study.experiments[experiment].corruptions:
            stages.append(Stage("write_corruptions", 1))
        if self.study.experiments[experiment].preview:
            stages.append(Stage("write_estimate", 1))
        if self.study.denoised_runs(experiment):
            stages.append(Stage("draw_denoised", 1))
        return stages

    def diagnosis(self, name: str) -> list[Stage]:
        """A diagnosis, with what the experiment that it is put beside needs for its certificates."""
        d = self.study.diagnoses[name]
        runs, models = [] if d.beside is None else list(self.study.runs(d.beside)), self.study.page_models(name)
        features, tables = Stage("extract_features"), Stage("measure_knowledge")
        for key in models:
            points = self.study.knowledge[d.knowledge].points
            features.add(self.drawing(key, points), 4 * points * FEATURES)
            tables.add(0.0)
        made = [*self.data(name), *self.models(models), *([*self.draws(runs), self.certificates(runs)] if runs else [])]
        return [*made, features, tables, *self.attacks(name), Stage("write_diagnosis", 1, size=REPORT_BYTES)]

    def attacks(self, experiment: str) -> list[Stage]:
        """Attacks: a pass with its gradient costs three draws, and draws judge each attempt."""
        stage = Stage("attack_model")
        for run in self.study.attack_runs(experiment):
            attack, images = self.study.attacks[run.attack], self.images(run)
            each = len(attack.eps) * attack.attempts * (3 * attack.passes + attack.judged)
            passes = None if images is None else images * each
            stage.add(self.drawing(run.of_model, passes), (images or 0) * len(attack.eps) * TABLE_BYTES)
        return [stage] if stage.jobs else []

    def images(self, run: AttackRun | CountsRun) -> int | None:
        """How many images are certified; None where the dataset's size is only known once it is read."""
        name, entry, _ = copies_parts(run.images)
        subset, size = self.study.images[name], self.study.datasets[run.dataset].info().size
        levels = 1 if entry is None else len(self.study.corruptions[entry].levels())
        images = subset.max if size is None else len(subset.indices(size[subset.split]))
        return None if images is None else levels * images
