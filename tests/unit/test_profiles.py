"""Profiles and rules keep to what a cluster needs."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
ALWAYS = {
    "ignore-incomplete": True,
    "keep-going": True,
    "show-failed-logs": True,
    "rerun-triggers": ["mtime", "params", "input"],
}


def blocks() -> dict[str, str]:
    """Name of each rule → its text."""
    text = "\n".join(path.read_text() for path in RULES)
    heads = r"^(?:rule (\w+):|use rule (\w+) as (\w+) with:)$"
    found: dict[str, str] = {}
    parts = iter(re.split(heads, text, flags=re.MULTILINE)[1:])
    bases: dict[str, str] = {}
    for name, base, variant, body in zip(parts, parts, parts, parts, strict=True):
        found[name or variant] = body
        bases |= {variant: base} if base else {}
    return {name: text + found.get(bases.get(name, ""), "") for name, text in found.items()}


def test_no_rule_retries_itself():
    # The two Snakemakes inside a SLURM job would obey it too: R retries become (R+1)(R+2)(R+3)/6 runs in old allocations.
    assert not [path.name for path in RULES if re.search(r"^\s*retries\s*:", path.read_text(), re.MULTILINE)]


def test_every_rule_states_needs_that_grow_with_the_attempt():
    for name, text in blocks().items():
        if name != "all":
            assert re.search(r"mem=growing\(", text) and re.search(r"runtime=growing\(", text), name


def test_rules_that_work_on_a_device_ask_for_a_gpu():
    for name, text in blocks().items():
        script = re.search(r"workflow_scripts/\w+\.py", text)
        if script is not None:
            works = re.search(r"devices?_of\(", (ROOT / script[0]).read_text()) is not None
            assert works == ("gpu=1" in text), name


def test_no_rule_names_a_place():
    for path in RULES:
        assert not re.search(r"slurm_|partition=|account=|qos=", path.read_text()), path.name


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_repeat_what_the_default_one_sets(path):
    settings = yaml.safe_load(path.read_text())
    assert {key: settings.get(key) for key in ALWAYS} == ALWAYS


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_name_rules_that_exist(path):
    settings = yaml.safe_load(path.read_text())
    for key in ("set-resources", "set-threads", "groups"):
        assert set(settings.get(key, {})) <= set(blocks()), key


@pytest.mark.parametrize("name", ["lsf", "kubernetes"])
def test_profiles_that_must_be_told_name_every_rule_with_a_gpu(name):
    settings = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert set(settings["set-resources"]) == {rule for rule, text in blocks().items() if "gpu=1" in text}


def test_on_slurm_jobs_without_a_gpu_have_a_partition_of_their_own():
    """Many a GPU partition refuses them, or lets them wait for ever."""
    settings = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    local = re.search(r"^localrules:\n((?: +\w+,\n)+)", RULES[0].read_text(), re.MULTILINE)[1]
    submitted = blocks().keys() - set(re.findall(r"\w+", local))
    placed = {rule for rule, needs in settings["set-resources"].items() if "slurm_partition" in needs}
    assert placed == {rule for rule in submitted if "gpu=1" not in blocks()[rule]} and len(placed) == 3


def test_the_container_is_made_from_the_pins():
    text = (ROOT / "Containerfile").read_text()
    assert "COPY requirements.txt" in text and "-r requirements.txt" in text
    copied = set((ROOT / ".containerignore").read_text().split())
    assert {".git", ".venv", "data", "results"} <= copied
