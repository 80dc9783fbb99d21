"""The largest grid: what is planned is what Snakemake would run, and looking at it takes seconds."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lib.config.files import merged
from lib.workflow.cost import cost_of, main, read_rates

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "configs" / "grid.yaml"

pytestmark = pytest.mark.slow


def test_the_plan_counts_the_jobs_of_a_dry_run_which_takes_seconds(tmp_path):
    from lib.config import load

    plan = cost_of(load(merged([ROOT / "config.yaml", GRID])), "cifar10-grid", read_rates(), shards=8)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "-n", "--directory", str(tmp_path), "--set-scatter", "shards=8"]
    command += ["--configfile", str(GRID), "--", "results/reports/cifar10-grid.html"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stdout + result.stderr
    table = re.findall(r"^(\w+) +(\d+)$", result.stdout.rpartition("Job stats:")[2], re.MULTILINE)
    found = {rule: int(n) for rule, n in table}
    total = found.pop("total")
    assert total == plan.jobs == 833
    assert {stage.rule: stage.jobs for stage in plan.stages if "," not in stage.rule}.items() <= found.items()
    # 7 CPU seconds measured on a busy machine; cluster jobs start Snakemake twice each, so that this must not grow.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


@pytest.mark.parametrize("name", ["cifar10-grid", "cifar10-grid-planned", "imagenet-grid", "imagenet-grid-planned"])
def test_every_grid_has_a_plan(name, capsys):
    assert main([name, "--configfile", str(GRID)]) == 0
    assert "? device hours" not in capsys.readouterr().out
