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


def most_draws(sampler: Any) -> int | None:
    """The largest number of stage-2 draws that a sampler makes of an image; None where it does not say."""
    return getattr(sampler, "n", None) or getattr(sampler, "n_max", None)


def cost_of(study: Study, experiment: str, rates: Rates, *, shards: int = 1, mean_draws: int | None = None) -> Plan:
    """The plan of one experiment of a checked configuration.

    shards: jobs per model and sampler in stage 2. mean_draws: stage-2 draws per image to count with, instead of the most that
    each sampler may make.
    """
    if experiment not in study.experiments:
        known = ", ".join(study.experiments)
        raise ConfigError([f"experiments: no experiment {experiment!r}; known: {known}"])
    runs, plan = list(study.runs(experiment)), Plan(experiment, rates, set(), [])
    plan.models |= {architecture(study, run.model) for run in runs}
    plan.stages.append(_data(study, runs))
    plan.stages += _models(study, runs, rates, plan.remarks)
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


def _models(study: Study, runs: list[Run], rates: Rates, remarks: list[str]) -> Iterable[Stage]:
    """Training or import of each model, once."""
    trained, imported, names = Stage("train_model"), Stage("import_model"), study.trained()
    for dataset, model, method, noise, _ in _unique(runs, "dataset", "model", "method", "noise", "seed"):
        arch = architecture(study, model)
        weights = 4 * rates.parameters.get(arch, 0)
        if not weights:
            _once(remarks, f"size of {arch} unknown: its checkpoints are not counted")
        if method not in names:
            imported.add(0.0, weights)
            continue
        recipe, size = study.method(method, dataset, noise), study.datasets[dataset].info().size
        rate = rates.training.get(arch)
        if rate is None or size is None:
            _once(remarks, f"no training rate of {arch} on {rates.device}" if size else f"size of {dataset} unknown")
            trained.add(None, weights)
        else:
            trained.add(recipe.epochs * size["train"] * recipe.cost / rate / 3600, weights)
    return [stage for stage in (trained, imported) if stage.jobs]


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
        n = mean or most_draws(sampler)
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
    longest = {stage.rule: stage.longest for stage in plan.stages}.get("sample_counts", 0.0)
    if longest > LONG:
        lines.append(
            f"--set-scatter shards={math.ceil(longest / LONG)} keeps every sampling job below {LONG:.0f} hours"
        )
    return "\n".join([*lines, *(f"note: {remark}" for remark in plan.remarks)])


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
        study = load(_merged([ROOT / "config.yaml", *options.configfile]))
        rates = read_rates(options.device, options.rates)
        plan = cost_of(study, options.experiment, rates, shards=options.shards, mean_draws=options.mean_draws)
    except CertflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(render(plan))
    return 0


def _merged(paths: Iterable[str | Path]) -> dict[str, Any]:
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
