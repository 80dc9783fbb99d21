"""The best over noise levels: chosen per radius, with its winner, marked as optimistic, in every format."""

import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from report_samples import external_line, line, under

from certflow.config import load
from certflow.errors import ConfigError
from certflow.report.columns import Column, Metric, Statistic, certified_at, frame
from certflow.report.latex import latex
from certflow.report.own_envelope import NOTE, envelope_blocks, envelopes_of
from certflow.report.page import write_page
from certflow.report.summary import summarise
from certflow.report.tables import write_tables

ROOT = Path(__file__).resolve().parents[2]
RADII = [0.0, 0.25, 0.5, 1.0, 5.0]


@pytest.fixture(scope="module")
def lines():
    """Two methods at three levels, one of them under another law too, the levels not in order; and a line from elsewhere."""
    found = [line(method, sigma, seed=i, images=150) for i, method in enumerate("ab") for sigma in (0.5, 0.25, 1.0)]
    return [*found, under(line("a", 0.5, mean=2.0, seed=9, images=150), "uniform"), external_line(mean=4.0, images=150)]


@pytest.fixture(scope="module")
def summary(lines):
    return summarise(lines, RADII, resamples=20)


def test_each_radius_has_the_best_level_and_says_which(lines, summary):
    found = envelopes_of(summary)
    assert found[["method", "noise_kind"]].to_numpy().tolist() == [
        ["a", "gaussian"],
        ["b", "gaussian"],
        ["a", "uniform"],
    ]
    assert found["levels"].tolist() == ["0.25 0.5 1", "0.25 0.5 1", "0.5"]
    for place, method in enumerate("ab"):
        own = [one for one in lines if (one.method, one.noise_kind) == (method, "gaussian")]
        for radius in RADII:
            shares, clean = {}, {}
            for one in sorted(own, key=lambda one: one.sigma):
                table = one.seeds[0].table
                shares[one.sigma] = (table["correct"] * (table["radius"] >= radius)).mean()
                clean[one.sigma] = table["correct"].mean()
            best = max(shares, key=shares.get)  # the first, so the smallest sigma, of equal ones
            row, metric = found.iloc[place], certified_at(radius)
            assert row[Column(metric)] == pytest.approx(shares[best])
            assert row[Column(metric, Statistic.WINNER_SIGMA)] == best
            assert row[Column(metric, Statistic.WINNER_CLEAN)] == pytest.approx(clean[best])
    assert found[Column(certified_at(5.0))].tolist() == [0, 0, 0]  # a tie
    assert found[Column(certified_at(5.0), Statistic.WINNER_SIGMA)].tolist() == [0.25, 0.25, 0.5]


def test_an_envelope_is_never_below_a_line_of_its_own(summary):
    found = envelopes_of(summary).set_index(["method", "noise_kind"])
    ours = summary[~summary["external"]]
    for row in ours.to_dict("records"):
        for radius in RADII:
            column = Column(certified_at(radius))
            assert row[column] <= found.loc[(row["method"], row["noise_kind"]), column]


def test_it_stands_last_in_every_format_and_says_that_it_is_optimistic(summary, tmp_path):
    paths = [tmp_path / f"t.{ending}" for ending in ("tex", "md", "tsv")]
    found = envelopes_of(summary)
    write_tables(summary, paths, envelopes=found)
    tex, md = paths[0].read_text(), paths[1].read_text()
    for text in (tex, md):
        last = text.rpartition("best over noise levels")[2]
        assert "chosen on these images: optimistic" in last and "uniform" in last
    assert NOTE in md.replace("\\", "") and r"$\sigma$ = 0.25, 0.5, 1" in tex
    back = pd.read_csv(paths[2], sep="\t")
    assert back["row"].tolist() == ["line"] * len(summary) + ["envelope"] * 3
    of_lines = back[back["row"] == "line"]
    assert of_lines["acr"].to_numpy() == pytest.approx(summary["acr"].to_numpy(float), rel=1e-15)
    shown = back[back["row"] == "envelope"]
    for radius in RADII:
        for statistic in (Statistic.MEAN, Statistic.WINNER_SIGMA, Statistic.WINNER_CLEAN):
            column = Column(certified_at(radius), statistic)
            assert shown[column].to_numpy() == pytest.approx(found[column].to_numpy(float), rel=1e-15)
    assert shown["acr"].isna().all() and of_lines[Column(certified_at(0.5), Statistic.WINNER_SIGMA)].isna().all()


def test_cells_show_the_winner_below_and_the_best_in_bold(summary):
    (block,) = envelope_blocks(envelopes_of(summary))
    assert block.columns == ("method", "noise", "0.00", "0.25", "0.50", "1.00", "5.00") and block.names == 2
    assert [group.title for group in block.groups] == ["σ = 0.25, 0.5, 1", "σ = 0.5"]
    first = block.groups[0].rows[0].cells
    clean = summary[(summary["method"] == "a") & (summary["sigma"] == 1.0)][Column(Metric("clean_accuracy"))].iloc[0]
    assert first[5].small == f"σ = 1, {100 * clean:.1f}" and first[6].small == ""  # nothing wins where all are 0
    assert any(cell.best for row in block.groups[0].rows for cell in row.cells)
    assert "\\toprule" in latex([block], [], "t", "t")


def test_a_winner_whose_clean_accuracy_is_unknown_has_a_dash(summary):
    (block,) = envelope_blocks(envelopes_of(summary.assign(clean_accuracy=float("nan"))))
    assert block.groups[0].rows[0].cells[5].small == "σ = 1, –"


def test_the_page_has_it_too(lines, summary, tmp_path):
    page = tmp_path / "p.html"
    write_page(page, summary, lines[:2], title="T", envelopes=envelopes_of(summary))
    text = page.read_text()
    assert "σ = 0.25, 0.5, 1" in text and "chosen on these images: optimistic" in text and NOTE.split("(")[0] in text
    write_page(page, summary, lines[:2], title="T")
    assert "optimistic" not in page.read_text()


def test_certificates_have_envelopes_of_their_own(lines):
    other = [replace(one, certificate="other") for one in lines[:3]]
    assert len(envelopes_of(summarise([*lines[:3], *other], [0.25], resamples=20))) == 2


def test_an_experiment_asks_for_it_where_there_is_a_choice():
    raw = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text()))
    raw["experiments"]["digits"] |= {"envelope": True, "noises": ["gauss-0.25", "gauss-0.50"]}
    assert load(raw).table_spec("digits")["envelope"] is True
    raw["experiments"]["digits"]["noises"] = ["gauss-0.25"]
    with pytest.raises(ConfigError, match="digits.envelope: every kind of noise has one level"):
        load(raw)


def test_tables_of_the_splitting_papers_give_its_envelopes(shared):
    """Levine and Feizi (2021): the certified accuracies of every model, and the best over sigma as they state it."""
    radii = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    table = pd.read_csv(shared("reference/l1_tables.csv"), dtype={"stabilized": str})
    facts = {"norm": "l1", "external": False, "images": "", "n_images": 1, "seeds": "0", "n_seeds": 1, "alpha": 0.0005}
    rows = [
        {
            **facts,
            "method": f"{row.dataset} {row.denoiser} {row.stabilized}",
            "noise_kind": row.noise,
            "certificate": "",
            "sigma": row.sigma,
            Column(Metric("clean_accuracy")): row.top1_acc,
            **{Column(certified_at(radius)): table.at[row.Index, f"r{radius}"] for radius in radii},
        }
        for row in table[table["row"] == "experiment"].itertuples()
    ]
    found = envelopes_of(frame(rows)).set_index(["method", "noise_kind"])
    stated = table[(table["row"] == "envelope") & (table["stabilized"] != "any")]
    assert len(found) == len(stated) == 21
    for row in stated.to_dict("records"):
        ours = found.loc[(f"{row['dataset']} {row['denoiser']} {row['stabilized']}", row["noise"])]
        for radius in radii:
            at = [
                Column(certified_at(radius), s)
                for s in (Statistic.MEAN, Statistic.WINNER_CLEAN, Statistic.WINNER_SIGMA)
            ]
            wanted = [
                row[f"r{radius}"],
                row[f"top1_at_best_r{radius}"],
                float(str(row[f"best_r{radius}"]).removesuffix("s")),
            ]
            assert ours[at].tolist() == wanted
