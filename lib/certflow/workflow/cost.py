"""The command that says what an experiment costs.

`python -m certflow.workflow.cost imagenet` (or `make plan EXPERIMENT=imagenet`). Rates are numbers with a source in
`lib/certflow/workflow/rates.yaml`; a file of the user's own in the same format (`--rates`) wins over it. What has no rate is
said to have none.
"""

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

from certflow.config import load
from certflow.config.files import merged
from certflow.errors import CertflowError, ConfigError
from certflow.machine.standard import answer
from certflow.workflow.estimate import Plan, cost_of
from certflow.workflow.making import RULES
from certflow.workflow.rates import read_rates

LONG = 12.0
"""Hours after which a sampling job is worth cutting."""


def render(plan: Plan) -> str:
    """The plan as text."""
    lines = [f"{plan.experiment}: {plan.jobs} jobs, {_hours(plan.hours)} device hours, {_size(plan.size)} of disk", ""]
    lines.append(f"{'rule':<42}{'jobs':>7}{'hours':>12}{'longest':>10}{'disk':>10}")
    for stage in plan.stages:
        longest = None if stage.hours is None else stage.longest
        lines.append(
            f"{stage.rule:<42}{stage.jobs:>7}{_hours(stage.hours):>12}{_hours(longest):>10}{_size(stage.size):>10}"
        )
    lines += ["", f"device: {plan.rates.device} ({plan.rates.about})"]
    for what, table in (("draws", plan.rates.draws), ("training", plan.rates.training)):
        lines += [f"  {what}, {model}: {line.source}" for model, line in table.items() if model in plan.networks]
    if plan.ways:
        lines += ["", *_ways(plan)]
    return "\n".join([*lines, *_advice(plan), *(f"note: {remark}" for remark in plan.remarks)])


def _ways(plan: Plan) -> Iterable[str]:
    """What sampling costs in each way to this table, side by side."""
    yield f"{'ways to this table (sampling alone)':<42}{'draws/image':>12}{'hours':>12}"
    for name, draws, hours, source in plan.ways:
        yield f"{name:<42}{draws:>12,.0f}{_hours(hours):>12}  {source}"


def _advice(plan: Plan) -> Iterable[str]:
    """How to keep jobs short."""
    longest = {stage.rule: stage.longest for stage in plan.stages}
    drawing = max(longest.get(rule, 0.0) for rule in ("sample_counts", "smooth_predictions"))
    if drawing > LONG:
        shards = math.ceil(drawing * plan.shards / LONG)
        yield f"--set-scatter shards={shards} keeps every job that draws below {LONG:.0f} hours"
    for rule in RULES.values():
        if longest.get(rule, 0.0) > 2 * LONG:
            days = longest[rule] / 24
            yield f"the longest training takes {days:.1f} days: give it several GPUs (--set-resources {rule}:gpu=4)"


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:,.1f}" if hours >= 0.05 or hours == 0 else "<0.1"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def main(arguments: list[str] | None = None) -> int:
    """The command; our own errors end it with their message alone."""
    about = "What an experiment costs before anything runs: jobs, device hours and disk, from measured rates."
    parser = argparse.ArgumentParser(prog="python -m certflow.workflow.cost", description=about)
    parser.add_argument("experiment")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: that of this folder")
    parser.add_argument("--configfile", nargs="+", default=[], help="overlays, as for snakemake")
    parser.add_argument("--rates", help="your own rates, in the format of the shipped rates.yaml")
    parser.add_argument("--device", help="a device of the rates")
    parser.add_argument("--shards", type=int, default=1, help="as --set-scatter shards=")
    parser.add_argument("--mean-draws", type=int, help="draws per image of samplers that choose it themselves")
    options = parser.parse_args(arguments)
    try:
        if min(options.shards, 1 if options.mean_draws is None else options.mean_draws) < 1:
            raise ConfigError(["--shards and --mean-draws: must be at least 1"], "command line")
        files = [options.config, *options.configfile]
        study = load(merged(files), " + ".join(map(str, files)))
        rates = read_rates(options.device, options.rates)
        plan = cost_of(study, options.experiment, rates, shards=options.shards, mean_draws=options.mean_draws)
    except CertflowError as error:
        print(error, file=sys.stderr)
        return 1
    answer(render(plan) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
