"""Pages of results say how they were made, so that anyone can make them again: the command still plans what the page says."""

import re
from pathlib import Path

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.workflow.cost import cost_of, read_rates
from certflow.workflow.targets import concerned

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/results").glob("*.md"))
FACTS = ["command", "jobs", "commit", "time", "hardware"]
BLOCK = re.compile(r"^\| made by \| \|\n\| --- \| --- \|\n((?:\|.*\n)+)", re.MULTILINE)
SNAKEMAKE = re.compile(r"snakemake [^`\n]*--configfile ((?:configs/\S+ )+)-- (results/\S+?)(?=[`\s])")
UNCOUNTED = {"draw_denoised"}
"""Of a report alone, not of its table."""


def blocks(text: str) -> list[dict[str, str]]:
    """Each table of how something was made, as fact → what it says."""
    found = []
    for block in BLOCK.findall(text):
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append({name: said for name, said in cells})
    return found


def jobs_of(files: str, target: str) -> str:
    """What a page must say: the jobs of a run in an empty folder, those aside that only write tables and pages.

    The plan's counts are those of Snakemake's dry run (`tests/integration/test_plan.py`).
    """
    study = load(merged([ROOT / "config.yaml", *(ROOT / name for name in files.split())]))
    (experiment,) = concerned(study, [target])
    stages = cost_of(study, experiment, read_rates()).stages
    counted = [stage for stage in stages if not stage.rule.startswith("write_") and stage.rule not in UNCOUNTED]
    return ", ".join(f"{stage.jobs} {stage.rule}" for stage in counted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_results_says_how_it_was_made(page):
    text = page.read_text()
    made = blocks(text)
    assert made, f"{page.name}: needs a table `| made by | |` with the rows {', '.join(FACTS)} (docs/tests.md)"
    for block in made:
        assert list(block) == FACTS and all(block.values())
        assert re.search(r"`[0-9a-f]{7,40}`", block["commit"])
    told = [match for block in made for match in SNAKEMAKE.findall(block["command"])]
    assert sorted(told) == sorted(SNAKEMAKE.findall(text)), "a command of the page stands outside such a table"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_are_still_valid_and_plan_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page.read_text()):
        for files, target in SNAKEMAKE.findall(block["command"]):
            assert block["jobs"] == jobs_of(files, target)
