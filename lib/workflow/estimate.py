"""What an experiment costs before anything runs: jobs, device hours and disk of every stage, from rates."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.config import Run, Study
from lib.errors import ConfigError, listed
from lib.workflow.rates import Rates

TABLE_BYTES = 250
"""Bytes of one image's row in a certificate table and its plan."""
REPORT_BYTES = 3_000_000
"""Bytes of an experiment's tables, figures and page."""


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
    models: set[str]
    shards: int
    stages: list[Stage]
    remarks: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        return sum(stage.jobs for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """Device hours of all stages; None where a rate is missing."""
        hours = [stage.hours for stage in self.stages]
        return None if None in hours else math.fsum(hours)

    @property
    def size(self) -> int:
        """Bytes under `results/` and of decoded images."""
        return sum(stage.size for stage in self.stages)


def cost_of(study: Study, experiment: str, rates: Rates, *, shards: int = 1, mean_draws: int | None = None) -> Plan:
    """The plan of one experiment of a checked configuration.

    shards: jobs per model and sampler in stage 2. mean_draws: stage-2 draws per image to count with, instead of what each
    sampler itself says.
    """
    if experiment not in study.experiments:
        raise ConfigError([f"experiments: no experiment {experiment!r}; known: {listed(study.experiments)}"])
    runs = list(study.runs(experiment))
    estimate = _Estimate(study, rates, shards, mean_draws)
    stages = [estimate.data(runs), *estimate.models(runs), *estimate.draws(runs), *estimate.products(runs)]
    models = {estimate.architecture(run.model) for run in runs}
    return Plan(experiment, rates, models, shards, stages, estimate.remarks)


@dataclass(frozen=True)
class _Estimate:
    """Counts the jobs of runs stage by stage, and collects what it could not count."""

    study: Study
    rates: Rates
    shards: int
    mean_draws: int | None
    remarks: list[str] = field(default_factory=list)

    def remark(self, line: str) -> None:
        if line not in self.remarks:
            self.remarks.append(line)

    def architecture(self, model: str) -> str:
        """How rates and published numbers call a model: its kind, with its depth where it has one."""
        spec = self.study.models[model]
        return f"{spec.kind}{getattr(spec, 'depth', '')}"

    def hours(self, kind: str, model: str, dataset: str, passes: float | None) -> float | None:
        """Hours of so many passes at the model's rate; None, and a remark, where rate or number is unknown."""
        rate = getattr(self.rates, kind).get(self.architecture(model))
        if passes is None:
            self.remark(f"size of {dataset} unknown")
        elif rate is None:
            what = "sampling" if kind == "draws" else kind
            self.remark(f"no {what} rate of {self.architecture(model)} on {self.rates.device}")
        return None if rate is None or passes is None else passes / rate / 3600

    def data(self, runs: Sequence[Run]) -> Stage:
        """Preparation; splits that fit in memory are decoded once, one byte per value."""
        stage = Stage("prepare_data")
        for name in dict.fromkeys(run.dataset for run in runs):
            info = self.study.datasets[name].info()
            resident = info.augmentation != "resized_crop_flip" and info.size is not None
            stage.add(0.0, sum(info.size.values()) * math.prod(info.shape) if resident else 0)
        return stage

    def models(self, runs: Sequence[Run]) -> list[Stage]:
        """Training or import of each model, once, and of what some learn from: votes of a base classifier."""
        trained, imported, votes = Stage("train_model"), Stage("import_model"), Stage("smooth_predictions")
        wanted = _unique(runs, "dataset", "model", "method", "noise", "seed")
        learnt_from = self.predictions(wanted)
        for (dataset, model, _), entry in learnt_from.items():
            self.vote(votes, dataset, model, entry.n)
        bases = [(dataset, model, e.method, e.noise, e.seed) for (dataset, model, _), e in learnt_from.items()]
        for dataset, model, method, noise, _ in dict.fromkeys([*wanted, *bases]):
            self.fit(trained if method in self.study.trained() else imported, dataset, model, method, noise)
        merge = Stage("merge_predictions", jobs=len(learnt_from))
        return [stage for stage in (trained, imported, votes, merge) if stage.jobs]

    def predictions(self, models: Iterable[tuple]) -> dict[tuple[str, str, str], Any]:
        """(dataset, model, name) → entry of `predictions`, for all that these models learn from."""
        return {
            (dataset, model, name): self.study.predictions[name]
            for dataset, model, method, noise, _ in models
            for name in self.study.tables(method, dataset, noise).values()
        }

    def fit(self, stage: Stage, dataset: str, model: str, method: str, noise: str) -> None:
        """The weights of one model, trained or imported."""
        weights = 4 * self.rates.parameters.get(self.architecture(model), 0)
        if not weights:
            self.remark(f"size of {self.architecture(model)} unknown: its checkpoints are not counted")
        if self.study.methods[method].kind == "denoised":
            self.remark(f"{method}: its denoiser's training is not counted")
        if stage.rule == "import_model":
            stage.add(0.0, weights)
            return
        recipe, size = self.study.method(method, dataset, noise), self.study.datasets[dataset].info().size
        passes = None if size is None else recipe.epochs * size["train"] * recipe.cost
        stage.add(self.hours("training", model, dataset, passes), weights)

    def vote(self, stage: Stage, dataset: str, model: str, n: int) -> None:
        """Votes on every training image of a dataset."""
        info = self.study.datasets[dataset].info()
        images = None if info.size is None else info.size["train"]
        hours = self.hours("draws", model, dataset, None if images is None else images * n)
        stage.add(hours, 2 * 8 * (images or 0) * info.classes, self.shards)

    def draws(self, runs: Sequence[Run]) -> list[Stage]:
        """Both stages of sampling; counts are int64 per image and class, compressed to less."""
        first, plan = Stage("presample_counts"), Stage("plan_draws")
        second, merge = Stage("sample_counts"), Stage("merge_counts")
        keys = ("dataset", "model", "method", "noise", "seed", "images", "sampler")
        for run in {tuple(getattr(run, key) for key in keys): run for run in runs}.values():
            images, sampler = self.images(run), self.study.samplers[run.sampler]
            n = self.mean_draws or sampler.cost
            if n is None:
                self.remark(f"sampler {run.sampler} does not say how many draws it makes; give --mean-draws")
            counts = 8 * (images or 0) * self.study.datasets[run.dataset].info().classes
            hours = self.hours("draws", run.model, run.dataset, images)
            first.add(None if hours is None else hours * sampler.n0, counts)
            plan.add(0.0, (images or 0) * TABLE_BYTES)
            second.add(None if hours is None or n is None else hours * n, counts, self.shards)
            merge.add(0.0, counts)
        return [first, plan, second, merge]

    def products(self, runs: Sequence[Run]) -> list[Stage]:
        """Certificates, and what a reader sees."""
        certificates = Stage("certify_radii")
        for run in runs:
            certificates.add(0.0, (self.images(run) or 0) * TABLE_BYTES)
        return [certificates, Stage("write_table, plot_figures, write_report", 3, size=REPORT_BYTES)]

    def images(self, run: Run) -> int | None:
        """How many images are certified; None where the dataset's size is only known once it is read."""
        subset, size = self.study.images[run.images], self.study.datasets[run.dataset].info().size
        return subset.max if size is None else len(subset.indices(size[subset.split]))


def _unique(runs: Iterable[Run], *keys: str) -> list[tuple]:
    return list(dict.fromkeys(tuple(getattr(run, key) for key in keys) for run in runs))
