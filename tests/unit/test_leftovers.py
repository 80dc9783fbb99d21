"""Only what nobody checks is made again, only if its job was not seen to end, and only while no Snakemake is at work."""

from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from certflow.workflow.leftovers import unseen

LONG = f"results/figures/{'x' * 200}/p_a.png"


def mark(home: Path, name: str) -> Path:
    """An output that Snakemake takes for unfinished, and its marker as Snakemake names it."""
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("made")
    encoded = urlsafe_b64encode(name.encode()).decode()
    parts = [encoded[i : i + 254] for i in range(0, len(encoded), 254)]
    marker = home.joinpath(".snakemake/incomplete", *(f"@{part}" for part in parts[:-1]), parts[-1])
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text("null")
    return path


@pytest.mark.parametrize(
    "name",
    ["results/tables/a.tex", LONG, "results/reports/a.html", "results/corruptions/a.tsv", "sub/results/tables/a.tex"],
)
def test_a_last_result_is_named_and_left_where_it_is(tmp_path, name):
    path, other = mark(tmp_path, name), tmp_path / "results/tables/other.tex"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("finished")
    assert unseen(tmp_path) == [name] and path.read_text() == "made"


@pytest.mark.parametrize(
    "name",
    [
        "results/train/a/model.safetensors",
        "results/certificates/a/np.tsv",
        "elsewhere/tables/a",
        "results/train/tables/a",
        "results/tables",
    ],
)
def test_what_says_itself_how_it_was_made_is_not(tmp_path, name):
    mark(tmp_path, name)
    assert unseen(tmp_path) == []


def test_none_is_while_a_snakemake_is_at_work(tmp_path):
    mark(tmp_path, "results/tables/a.tex")
    (tmp_path / ".snakemake/locks").mkdir()
    (tmp_path / ".snakemake/locks/0.output.lock").touch()
    assert unseen(tmp_path) == []


def test_an_unreadable_marker_and_a_deleted_file_do_no_harm(tmp_path):
    mark(tmp_path, "results/tables/a.tex").unlink()
    (tmp_path / ".snakemake/incomplete/migration_underway").touch()
    assert unseen(tmp_path) == [] and unseen(tmp_path / "fresh") == []


def test_a_marker_that_leads_out_of_the_results_names_nothing(tmp_path):
    home = tmp_path / "home"
    mark(home, "results/tables/../../../precious")
    assert unseen(home) == []
