"""What an experiment costs before anything runs: jobs, device hours and disk, from measured rates.

`python -m lib.workflow.cost imagenet` (or `make plan EXPERIMENT=imagenet`). Rates are numbers with a source in
`profiles/rates.yaml`; a file of the user's own in the same format (`--rates`) wins over it. What has no rate is said to
have none.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.config import Run, Study, load
from lib.errors import CertflowError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
RATES = ROOT / "profiles" / "rates.yaml"
LONG = 12.0
"""Hours after which a sampling job is worth cutting."""
TABLE_BYTES = 250
"""Bytes of one image's row in a certificate table and its plan."""


@dataclass(frozen=True)
class Rates:
    """Rates of one device. `draws` and `training`: model → per second; `parameters`: model → number of weights."""

    device: str
    about: str
    draws: Mapping[str, float]
    training: Mapping[str, float]
    parameters: Mapping[str, int]
    sources: Mapping[str, str]


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


def read_rates(device: str | None = None, own: str | Path | None = None) -> Rates:
    """The rates of `device` (default: the first of the user's file `own`, else the first that is shipped)."""
    shipped, mine = _yaml(RATES), _yaml(own) if own else {}
    devices = {
        **(mine.get("devices") or {}),
        **shipped["devices"],
        **(mine.get("devices") or {}),
    }  # the user's come first
    name = device or next(iter(devices))
    if name not in devices:
        raise ConfigError([f"--device: no device {name!r}; known: {', '.join(devices)}"], str(own or RATES))
    entry, models = devices[name], {**shipped["models"], **(mine.get("models") or {})}
    tables = {kind: entry.get(kind) or {} for kind in ("draws", "training")}
    for kind, table in tables.items():
        for model, line in table.items():
            if not isinstance(line, Mapping) or not isinstance(line.get("rate"), int | float) or line["rate"] <= 0:
                problem = (
                    f"devices.{name}.{kind}.{model}: must be {{rate: <number above 0>, source: <text>}}, got {line!r}"
                )
                raise ConfigError([problem], str(own or RATES))
    return Rates(
        device=name,
        about=str(entry.get("about", "")),
        draws={model: float(line["rate"]) for model, line in tables["draws"].items()},
        training={model: float(line["rate"]) for model, line in tables["training"].items()},
        parameters={model: int(line["parameters"]) for model, line in models.items()},
        sources={f"{k}, {m}": str(line.get("source", "unknown")) for k, t in tables.items() for m, line in t.items()},
    )


def _yaml(path: str | Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError([f"cannot be read ({error})"], str(path)) from None
    if not isinstance(content, Mapping):
        raise ConfigError(["must be a mapping with `devices` and `models`"], str(path))
    return dict(content)


def architecture(study: Study, model: str) -> str:
    """How rates and published numbers call a model: its kind, with its depth where it has one."""
    spec = study.models[model]
    return f"{spec.kind}{getattr(spec, 'depth', '')}"


def cost_of(study: Study, experiment: str, rates: Rates, *, shards: int = 1, mean_draws: int | None = None) -> Plan:
    """The plan of one experiment of a checked configuration.

    shards: jobs per model and sampler in stage 2. mean_draws: stage-2 draws per image to count with, instead of what each
    sampler itself says.
    """
    if experiment not in study.experiments:
        known = ", ".join(study.experiments)
        raise ConfigError([f"experiments: no experiment {experiment!r}; known: {known}"])
    runs, plan = list(study.runs(experiment)), Plan(experiment, rates, set(), shards, [])
    plan.models |= {architecture(study, run.model) for run in runs}
    plan.stages.append(_data(study, runs))
    plan.stages += _models(study, runs, rates, shards, plan.remarks)
    plan.stages += _draws(study, runs, rates, shards, mean_draws, plan.remarks)
    images = _images(study, runs[0])
    plan.stages.append(Stage("certify_radii", len(runs), size=len(runs) * (images or 0) * TABLE_BYTES))
    plan.stages.append(Stage("write_table, plot_figures, write_report", 3, size=3_000_000))
    return plan


def _data(study: Study, runs: list[Run]) -> Stage:
    """Preparation; splits that fit in memory are decoded once, one byte per value."""
    stage = Stage("prepare_data")
    for name in dict.fromkeys(run.dataset for run in runs):
        info = study.datasets[name].info()
        resident = info.augmentation != "resized_crop_flip" and info.size is not None
        stage.add(0.0, sum(info.size.values()) * math.prod(info.shape) if resident else 0)
    return stage


def _models(study: Study, runs: list[Run], rates: Rates, shards: int, remarks: list[str]) -> Iterable[Stage]:
    """Training or import of each model, once, and of what some learn from: votes of a base classifier."""
    trained, imported, votes = Stage("train_model"), Stage("import_model"), Stage("smooth_predictions")
    wanted = _unique(runs, "dataset", "model", "method", "noise", "seed")
    learnt_from = _predictions(study, wanted)
    for (dataset, model, _), entry in learnt_from.items():
        _vote(votes, study, dataset, model, entry.n, rates, shards, remarks)
    bases = [(dataset, model, e.method, e.noise, e.seed) for (dataset, model, _), e in learnt_from.items()]
    for dataset, model, method, noise, _ in dict.fromkeys([*wanted, *bases]):
        arch = architecture(study, model)
        weights = 4 * rates.parameters.get(arch, 0)
        if not weights:
            _once(remarks, f"size of {arch} unknown: its checkpoints are not counted")
        if study.methods[method].kind == "denoised":
            _once(remarks, f"{method}: its denoiser's training is not counted")
        if method not in study.trained():
            imported.add(0.0, weights)
            continue
        recipe, size = study.method(method, dataset, noise), study.datasets[dataset].info().size
        rate = rates.training.get(arch)
        if rate is None or size is None:
            _once(remarks, f"no training rate of {arch} on {rates.device}" if size else f"size of {dataset} unknown")
            trained.add(None, weights)
        else:
            trained.add(recipe.epochs * size["train"] * recipe.cost / rate / 3600, weights)
    merge = Stage("merge_predictions", jobs=len(learnt_from))
    return [stage for stage in (trained, imported, votes, merge) if stage.jobs]


def _predictions(study: Study, models: list[tuple]) -> dict[tuple[str, str, str], Any]:
    """(dataset, model, name) → entry of `predictions`, for all that these models learn from."""
    found = {}
    for dataset, model, method, noise, _ in models:
        if method in study.trained():
            recipe = study.method(method, dataset, noise)
            for name in (getattr(recipe, table) for table in recipe.tables):
                found[dataset, model, name] = study.predictions[name]
    return found


def _vote(
    stage: Stage, study: Study, dataset: str, model: str, n: int, rates: Rates, shards: int, remarks: list[str]
) -> None:
    """Votes on every training image of a dataset."""
    info, arch = study.datasets[dataset].info(), architecture(study, model)
    rate = rates.draws.get(arch)
    if rate is None or info.size is None:
        _once(remarks, f"no sampling rate of {arch} on {rates.device}" if info.size else f"size of {dataset} unknown")
        stage.add(None, jobs=shards)
    else:
        images = info.size["train"]
        stage.add(images * n / rate / 3600, 2 * 8 * images * info.classes, shards)


def _draws(
    study: Study, runs: list[Run], rates: Rates, shards: int, mean: int | None, remarks: list[str]
) -> Iterable[Stage]:
    """Both stages of sampling; counts are int64 per image and class, compressed to less."""
    first, plan = Stage("presample_counts"), Stage("plan_draws")
    second, merge = Stage("sample_counts"), Stage("merge_counts")
    keys = ("dataset", "model", "method", "noise", "seed", "images", "sampler")
    for run in {tuple(getattr(run, key) for key in keys): run for run in runs}.values():
        images, arch = _images(study, run), architecture(study, run.model)
        sampler, rate = study.samplers[run.sampler], rates.draws.get(arch)
        n = mean or sampler.cost
        known = rate is not None and images is not None
        if not known:
            _once(
                remarks, f"no sampling rate of {arch} on {rates.device}" if images else f"size of {run.dataset} unknown"
            )
        if n is None:
            _once(remarks, f"sampler {run.sampler} does not say how many draws it makes; give --mean-draws")
        counts = 8 * (images or 0) * study.datasets[run.dataset].info().classes
        first.add(images * sampler.n0 / rate / 3600 if known else None, counts)
        plan.add(0.0, (images or 0) * TABLE_BYTES)
        second.add(images * n / rate / 3600 if known and n is not None else None, counts, shards)
        merge.add(0.0, counts)
    return first, plan, second, merge


def _images(study: Study, run: Run) -> int | None:
    """How many images are certified; None where the dataset's size is only known once it is read."""
    subset, size = study.images[run.images], study.datasets[run.dataset].info().size
    if size is None:
        return subset.max
    return len(subset.indices(size[subset.split]))


def _unique(runs: Iterable[Run], *keys: str) -> list[tuple]:
    return list(dict.fromkeys(tuple(getattr(run, key) for key in keys) for run in runs))


def _once(lines: list[str], line: str) -> None:
    if line not in lines:
        lines.append(line)


def render(plan: Plan) -> str:
    """The plan as text."""
    lines = [f"{plan.experiment}: {plan.jobs} jobs, {_hours(plan.hours)} device hours, {_size(plan.size)} of disk", ""]
    lines.append(f"{'rule':<42}{'jobs':>7}{'hours':>12}{'longest':>10}{'disk':>10}")
    for stage in plan.stages:
        lines.append(
            f"{stage.rule:<42}{stage.jobs:>7}{_hours(stage.hours):>12}{_hours(stage.longest):>10}{_size(stage.size):>10}"
        )
    lines += ["", f"device: {plan.rates.device} ({plan.rates.about})"]
    lines += [
        f"  {what}: {source}" for what, source in plan.rates.sources.items() if what.split(", ")[1] in plan.models
    ]
    return "\n".join([*lines, *_advice(plan), *(f"note: {remark}" for remark in plan.remarks)])


def _advice(plan: Plan) -> Iterable[str]:
    """How to keep jobs short."""
    longest = {stage.rule: stage.longest for stage in plan.stages}
    drawing = max(longest.get(rule, 0.0) for rule in ("sample_counts", "smooth_predictions"))
    if drawing > LONG:
        shards = math.ceil(drawing * plan.shards / LONG)
        yield f"--set-scatter shards={shards} keeps every job that draws below {LONG:.0f} hours"
    if longest.get("train_model", 0.0) > 2 * LONG:
        days = longest["train_model"] / 24
        yield f"the longest training takes {days:.1f} days: give it several GPUs (--set-resources train_model:gpu=4)"


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:,.1f}" if hours >= 0.05 or hours == 0 else "<0.1"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def main(arguments: list[str] | None = None) -> int:
    """The command; errors of ours end it with their message alone."""
    parser = argparse.ArgumentParser(prog="python -m lib.workflow.cost", description=__doc__.splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--configfile", nargs="+", default=[], help="overlays, as for snakemake")
    parser.add_argument("--rates", help="your own rates, in the format of profiles/rates.yaml")
    parser.add_argument("--device", help="a device of the rates")
    parser.add_argument("--shards", type=int, default=1, help="as --set-scatter shards=")
    parser.add_argument("--mean-draws", type=int, help="draws per image of samplers that choose it themselves")
    options = parser.parse_args(arguments)
    try:
        if options.shards < 1 or (options.mean_draws or 1) < 1:
            raise ConfigError(["--shards and --mean-draws: must be at least 1"], "command line")
        study = load(merged([ROOT / "config.yaml", *options.configfile]))
        rates = read_rates(options.device, options.rates)
        plan = cost_of(study, options.experiment, rates, shards=options.shards, mean_draws=options.mean_draws)
    except CertflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(render(plan))
    return 0


def merged(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Configuration files, each laid over those before it, as Snakemake does."""
    merged: dict[str, Any] = {}
    for path in paths:
        _overlay(merged, _yaml(path))
    return merged


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _overlay(below[key], value)
        else:
            below[key] = value


if __name__ == "__main__":
    sys.exit(main())
