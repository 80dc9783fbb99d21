"""Through the real Snakefile: an experiment that asks for attacks, and what a change of them re-runs."""

import copy
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from test_workflow import PER_EXPERIMENT, REPORT, TINY, planned, snakemake

from certflow.config import load
from certflow.config.files import merged
from certflow.workflow.cost import cost_of, read_rates

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "attacks": {
        "smooth": {"kind": "smooth_pgd", "eps": [0.25, 0.75], "steps": 2, "noises": 4, "n": 50},
        "flat": {"kind": "fgsm", "norm": "linf", "eps": [0.1]},
    },
    "experiments": {"tiny": {"attacks": ["smooth", "flat"]}},
}

pytestmark = pytest.mark.slow


def overlay(folder: Path, **changes: dict) -> tuple[Path, ...]:
    """The overlay with settings of attacks changed."""
    config = copy.deepcopy(CONFIG)
    for name, settings in changes.items():
        config["attacks"][name] |= settings
    path = folder / "attacks.yaml"
    path.write_text(yaml.safe_dump(config))
    return (path,)


@pytest.fixture(scope="module")
def attacked(finished, tmp_path_factory) -> Path:
    """The finished tiny experiment, then attacked."""
    folder = tmp_path_factory.mktemp("attacked") / "work"
    shutil.copytree(finished, folder)
    files = overlay(folder)
    before = planned(snakemake(folder, "-n", REPORT, overlays=files))
    assert before == {"attack_model": 4, **dict.fromkeys(PER_EXPERIMENT, 1)}
    assert "(100%) done" in snakemake(folder, REPORT, overlays=files)
    return folder


def test_every_model_is_attacked_and_the_table_says_what_is_left(attacked):
    folder = attacked / "results/attacks/digits/tiny"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.tsv")}
    assert found == {f"{m}/gauss-0.25/seed0/tiny/{a}.tsv" for m in ("one", "two") for a in ("smooth", "flat")}
    summary = pd.read_csv(attacked / "results/tables/tiny.tsv", sep="\t")
    for eps in (0.25, 0.75):
        assert summary[f"accuracy_under@smooth@l2@{eps}"].between(0, 1).all()
    assert (summary["accuracy_under@smooth@l2@0.25"] >= summary["certified_accuracy@0.25"]).all()
    assert "plain_accuracy_under@flat@linf@0.1" in summary
    assert "attack smooth within" in (attacked / REPORT).read_text()


def test_an_attacks_setting_reruns_that_attack_and_the_report_alone(attacked, tmp_path):
    assert planned(snakemake(attacked, "-n", REPORT, overlays=overlay(tmp_path))) == {}
    changed = planned(snakemake(attacked, "-n", REPORT, overlays=overlay(tmp_path, smooth={"steps": 3})))
    assert changed == {"attack_model": 2, **dict.fromkeys(PER_EXPERIMENT, 1)}


def test_the_plan_counts_attacks(tmp_path):
    plan = cost_of(load(merged([ROOT / "config.yaml", TINY, *overlay(tmp_path)])), "tiny", read_rates())
    jobs = {stage.rule: stage.jobs for stage in plan.stages}
    assert jobs["attack_model"] == 4
