"""The largest grid: what is planned is what Snakemake would run, and looking at it takes seconds."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemakes import snakemake_process

from certflow.config import load
from certflow.config.files import merged
from certflow.workflow.cost import cost_of, main, read_rates

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "configs" / "grid.yaml"

pytestmark = pytest.mark.slow


def test_the_plan_counts_the_jobs_of_a_dry_run_which_takes_seconds(tmp_path):
    plan = cost_of(load(merged([ROOT / "config.yaml", GRID])), "cifar10-grid", read_rates(), shards=8)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    target = ("results/reports/cifar10-grid.html", "--set-scatter", "shards=8", "--configfile", str(GRID))
    command = [sys.executable, "-m", "snakemake", *dry(tmp_path, *target)]
    found = jobs(subprocess.run(command, cwd=ROOT, capture_output=True, text=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = found.pop("total")
    assert total == plan.jobs == 833
    assert {stage.rule: stage.jobs for stage in plan.stages if "," not in stage.rule}.items() <= found.items()
    # 7 CPU seconds measured on a busy machine; cluster jobs start Snakemake twice each, so that this must not grow.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


def dry(folder, target, *arguments):
    """Snakemake's arguments for a dry run."""
    return ["-n", "--directory", str(folder), *arguments, "--", target]


def jobs(result):
    """Jobs of each rule, as Snakemake counts them."""
    assert result.returncode == 0, result.stdout + result.stderr
    table = re.findall(r"^(\w+) +(\d+)$", result.stdout.rpartition("Job stats:")[2], re.MULTILINE)
    return {rule: int(n) for rule, n in table}


def test_denoisers_copies_and_base_classifiers_are_counted_as_they_run(tmp_path):
    files = [ROOT / "config.yaml", ROOT / "configs/denoised.yaml"]
    raw = merged(files)
    methods = [*raw["experiments"]["digits-denoised"]["methods"], "catrs-quick"]
    changes = {"methods": methods, "corruptions": ["computed"], "seeds": [0, 1]}
    overlay = {"experiments": {"all": {**raw["experiments"]["digits-denoised"], **changes}}}
    file = tmp_path / "overlay.yaml"
    file.write_text(yaml.safe_dump(overlay))
    plan = cost_of(load(merged([*files, file])), "all", read_rates(), shards=2)
    target = ("results/reports/all.html", "--set-scatter", "shards=2", "--configfile", str(files[1]), str(file))
    found = jobs(snakemake_process(*dry(tmp_path, *target)))
    assert found.pop("total") == plan.jobs
    assert {stage.rule: stage.jobs for stage in plan.stages if "," not in stage.rule}.items() <= found.items()
    assert {"train_denoiser", "train_denoised", "compose_denoised", "prepare_copies", "draw_denoised"} <= set(found)


@pytest.mark.parametrize("name", ["cifar10-grid", "cifar10-grid-planned", "imagenet-grid", "imagenet-grid-planned"])
def test_every_grid_has_a_plan(name, capsys):
    assert main([name, "--configfile", str(GRID)]) == 0
    assert "? device hours" not in capsys.readouterr().out
