"""Only what nobody checks is deleted, only if its job was not seen to end, and only while no Snakemake is at work."""

from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from lib.workflow.leftovers import forget_unchecked

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


@pytest.mark.parametrize("name", ["results/tables/a.tex", LONG, "results/reports/a.html", "results/corruptions/a.tsv"])
def test_a_last_result_is_deleted(tmp_path, name, capsys):
    path, other = mark(tmp_path, name), tmp_path / "results/tables/other.tex"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("finished")
    assert forget_unchecked(tmp_path) == [path] and not path.exists() and other.exists()
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results/tables/a.b.tex", "results/figures/a.b/p_a.png"])
def test_the_page_made_from_it_is_deleted_too(tmp_path, name):
    path, page = mark(tmp_path, name), tmp_path / "results/reports/a.b.html"
    page.parent.mkdir(parents=True)
    page.write_text("finished")
    assert forget_unchecked(tmp_path) == sorted([path, page]) and not page.exists()


@pytest.mark.parametrize(
    "name", ["results/train/a/model.safetensors", "results/certificates/a/np.tsv", "elsewhere/tables/a"]
)
def test_what_says_itself_how_it_was_made_is_kept(tmp_path, name):
    path = mark(tmp_path, name)
    assert forget_unchecked(tmp_path) == [] and path.exists()


def test_nothing_is_deleted_while_a_snakemake_is_at_work(tmp_path):
    path = mark(tmp_path, "results/tables/a.tex")
    (tmp_path / ".snakemake/locks").mkdir()
    (tmp_path / ".snakemake/locks/0.output.lock").touch()
    assert forget_unchecked(tmp_path) == [] and path.exists()


def test_an_unreadable_marker_and_a_deleted_file_do_no_harm(tmp_path):
    mark(tmp_path, "results/tables/a.tex").unlink()
    (tmp_path / ".snakemake/incomplete/migration_underway").touch()
    assert forget_unchecked(tmp_path) == [] and forget_unchecked(tmp_path / "fresh") == []


def test_a_marker_that_leads_out_of_the_results_deletes_nothing(tmp_path):
    home = tmp_path / "home"
    path = mark(home, "results/tables/../../../precious")
    assert forget_unchecked(home) == [] and path.exists()
