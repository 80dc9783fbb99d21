"""Through the real Snakefile: a diagnosis of a trained model, and what a change of it re-runs."""

import copy
import shutil
from pathlib import Path

import pytest
import yaml
from test_workflow import TINY, planned, snakemake

from certflow.config import load
from certflow.config.files import merged
from certflow.workflow.cost import cost_of, read_rates

ROOT = Path(__file__).resolve().parents[2]
PAGE = "results/diagnoses/layers.html"
CONFIG = {
    "knowledge": {"few": {"points": 80, "deltas": 5}},
    "experiments": {"tiny": {"seeds": [0, 1]}},
    "diagnoses": {
        "layers": {
            "dataset": "digits",
            "model": "tiny",
            "noises": ["gauss-0.25"],
            "methods": ["one"],
            "knowledge": "few",
        }
    },
}

pytestmark = pytest.mark.slow


def overlay(folder: Path, **changes) -> tuple[Path, ...]:
    """The overlay with settings of what is measured changed."""
    config = copy.deepcopy(CONFIG)
    config["knowledge"]["few"] |= changes
    path = folder / "diagnosis.yaml"
    path.write_text(yaml.safe_dump(config))
    return (path,)


def test_a_trained_model_is_diagnosed_and_settings_rerun_what_depends_on_them(finished, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    files = overlay(tmp_path)
    assert "(100%) done" in snakemake(folder, PAGE, overlays=files)
    tables = folder / "results/knowledge/digits/tiny/one/gauss-0.25/seed0/few"
    assert {path.name for path in tables.iterdir()} == {
        f"{n}.{e}" for n in ("volatility", "certificate") for e in ("tsv", "json")
    }
    assert "Volatility by depth" in (folder / PAGE).read_text()
    changed = planned(snakemake(folder, "-n", PAGE, overlays=overlay(tmp_path, alpha=0.01)))
    assert changed == {"measure_knowledge": 1, "write_diagnosis": 1}


def test_the_plan_counts_a_diagnosis(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["diagnoses"]["layers"] |= {"beside": "tiny"}
    path = tmp_path / "beside.yaml"
    path.write_text(yaml.safe_dump(config))
    plan = cost_of(load(merged([ROOT / "config.yaml", TINY, path])), "layers", read_rates())
    jobs = {stage.rule: stage.jobs for stage in plan.stages}
    assert (jobs["train_model"], jobs["extract_features"], jobs["certify_radii"], jobs["write_diagnosis"]) == (
        4,
        4,
        4,
        1,
    )
