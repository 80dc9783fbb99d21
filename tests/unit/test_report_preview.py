"""The estimate of a table: made from real counts, printed as what it is, and nowhere as a certificate."""

import numpy as np
import pandas as pd
import pytest
from report_samples import line
from scipy.special import ndtr
from stage_examples import NOISE, SAMPLERS, Home, sampler_of

from certflow.certify.preview import Preview, preview_problems
from certflow.doors.commands.estimate import _summary
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, read_table
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.report.columns import Column, certified_at, radii_among
from certflow.report.drawn import read_figure
from certflow.report.notes import notes, sampling_error
from certflow.report.page import Previewed, write_page
from certflow.report.preview import ESTIMATED, estimated, read_pilots, read_preview, write_preview
from certflow.report.preview_table import preview_blocks, preview_notes
from certflow.report.settings import PlotSettings
from certflow.report.summary import summarise

RADII = [0.0, 0.25, 1.0, 1.5]
"""The last one lies beyond 2.5 sigma."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """(spec, plans, counts): two training seeds of one method, whose counts are the same files here."""
    folder = tmp_path_factory.mktemp("preview")
    home = Home(folder).prepared()
    sampler = sampler_of("pilot")
    plan, counts = home.counted(sampler, folder)
    runs = [
        {"method": "gaussian", "noise": "gauss-0.50", "seed": seed, "spec": home.counts_spec(sampler)}
        for seed in (0, 1)
    ]
    told = {"radii": RADII, "n": 4000, "alpha": 0.001, "norm": "l2", "split": "test", "title": "Ours"}
    spec = {**told, "plot": PlotSettings().model_dump(mode="json"), "runs": runs}
    return spec, [str(plan)] * 2, [str(counts)] * 2


def test_it_is_the_estimate_of_the_labels_counts(counted):
    spec, plans, counts = counted
    table = estimated(spec, read_pilots(*counted))
    arrays, rows = read_arrays(counts[0], format="counts")[0], read_table(plans[0])[0]
    hits = arrays["counts"][np.arange(len(rows)), rows["label"]]
    wanted = Preview(hits, arrays["counts"].sum(axis=1), NOISE, 64, "l2", 4000, 0.001).accuracy(np.array(RADII))
    (row,) = table.to_dict(orient="records")
    assert [row[f"estimated_accuracy@{r!r}"] for r in RADII] == pytest.approx(wanted.value, nan_ok=True)
    assert np.isnan(wanted.value).tolist() == [False, False, False, True]
    assert [row[f"estimated_accuracy@{r!r}_high"] for r in RADII] == pytest.approx(wanted.high)
    assert row["draws"] == arrays["drawn"].mean() and row["seeds"] == "0 1" and row["n_images"] == len(rows)


def test_no_column_is_called_certified(counted):
    table = estimated(counted[0], read_pilots(*counted))
    assert radii_among(table.columns, ESTIMATED) == RADII and radii_among(table.columns) == []
    assert not [name for name in table if "certified" in name]


def test_every_file_says_that_nothing_is_certified(counted, tmp_path):
    spec, plans, counts = counted
    tables = [tmp_path / f"digits.{ending}" for ending in ("tex", "md", "tsv")]
    figures = [tmp_path / f"estimate.{ending}" for ending in ("svg", "png")]
    write_preview(spec, plans, counts, tables, figures)
    tex, md = (path.read_text() for path in tables[:2])
    for text in (tex, md):
        assert "estimated, not certified" in text.splitlines()[0] + text.splitlines()[3]
        assert "estimated, not certified: accuracy" in text and "Estimated, not certified: what N = 4,000" in text
    assert read_preview(tables[2], spec).equals(estimated(spec, read_pilots(*counted)))
    assert read_figure(figures[0], spec).startswith(b"<?xml")
    assert f"σ = {NOISE.sigma:g}".encode() in read_figure(figures[0], spec)
    with pytest.raises(ArtefactError, match="alpha: file has 0.001, asked for 0.01"):
        read_preview(tables[2], {**spec, "alpha": 0.01})


def test_counts_of_another_model_are_refused(counted):
    spec, plans, counts = counted
    runs = [{**run, "spec": {**run["spec"], "seed": 99}} for run in spec["runs"]]
    with pytest.raises(ArtefactError, match="seed: file has 7, asked for 99"):
        read_pilots({**spec, "runs": runs}, plans, counts)


def test_what_few_draws_cannot_tell_is_printed_as_a_ceiling(counted):
    table = estimated(counted[0], read_pilots(*counted))
    row = preview_blocks(table)[0].groups[0].rows[0]
    assert row.cells[-1].text == "–" and row.cells[-1].small.startswith("≤ ")
    assert any("cannot tell images apart" in note for note in preview_notes(table))


def test_the_page_shows_it_apart_from_what_is_certified(counted, tmp_path):
    spec, plans, counts = counted
    tables, figures = [tmp_path / "digits.tsv"], [tmp_path / "estimate.svg"]
    write_preview(spec, plans, counts, tables, figures)
    ours, page = [line()], tmp_path / "page.html"
    shown = Previewed(read_preview(tables[0], spec), figures[0])
    write_page(page, summarise(ours, [0.25]), ours, title="Ours", preview=shown)
    text = page.read_text()
    results, estimate = (text.split(f'id="{name}"')[1].split("</section>")[0] for name in ("results", "estimate"))
    assert "are no certificates" in estimate and "estimated, not certified: accuracy" in estimate
    assert "stimated" not in results and 'href="#estimate"' in text
    write_page(page, summarise(ours, [0.25]), ours, title="Ours")
    assert "stimated" not in page.read_text()


def test_the_error_of_the_images_stands_first_in_every_table(counted):
    summary = summarise([line(images=500, mean=0.3)], [0.25, 0.5])
    first = notes(summary, remark="Look here.")[0]
    p = summary[["clean_accuracy", "certified_accuracy@0.25", "certified_accuracy@0.5"]].to_numpy()
    half = 196 * np.sqrt(p * (1 - p) / 500).max()
    assert f"±{np.ceil(10 * half) / 10:.1f} points with 500 images" in first and "however many draws" in first
    alone = sampling_error(pd.DataFrame({Column(certified_at(0.25)): [1.0]}).assign(n_images=1))[0]
    assert "up to ±100.0 points with 1 image (" in alone  # no share is further off: one image tells nothing
    assert "points with 9 images" in preview_notes(estimated(counted[0], read_pilots(*counted)))[0]


def test_the_average_radius_scales_with_sigma_and_is_that_of_sure_images():
    draws = np.full(200, 200)
    one, two = (Preview(draws, draws, Gaussian(sigma=s), 64, "l2", 1000, 0.001).radius() for s in (0.25, 0.5))
    assert two.value == pytest.approx(2 * one.value, rel=1e-6)
    assert one.value < Preview(draws, draws, Gaussian(sigma=0.25), 64, "l2", 1000, 0.001).farthest


def test_draws_and_times_are_those_of_both_stages(tmp_path):
    home, sampler = Home(tmp_path).prepared(), sampler_of("fixed")
    plan, counts = home.counted(sampler, tmp_path)
    run = {"method": "gaussian", "noise": "gauss-0.50", "seed": 0, "spec": home.counts_spec(sampler)}
    spec = {"radii": [0.25], "n": 4000, "alpha": 0.001, "norm": "l2", "split": "test", "runs": [run]}
    (row,) = estimated(spec, read_pilots(spec, [plan], [counts])).to_dict(orient="records")
    assert row["draws"] == sampler.n0 + sampler.n
    assert row["seconds_per_image"] == pytest.approx(read_arrays(counts, format="counts")[0]["seconds"].mean())
    made = Preview(np.array([9]), np.array([10]), NOISE, 64, "l2", 4000, 0.001)
    summary = _summary(made, made.radius(), 40, 5.0)
    assert summary["price"]["estimate"] == {"draws_per_image": 50.0, "seconds": pytest.approx(5.0)}


@pytest.mark.parametrize("kind", ["planned", "iss"])
def test_samplers_that_allot_draws_by_stage_1_are_refused(kind):
    (problem,) = preview_problems(NOISE, sampler_of(kind), "l2", 64)
    assert problem.startswith(f"sampler: {kind} allots draws by what stage 1 showed")


@pytest.mark.parametrize("kind", [kind for kind in SAMPLERS if kind != "enumerated"])
def test_every_sampler_says_whether_it_allots_draws_by_stage_1(kind):
    """Of an image whose draws all agree, and one whose votes are split."""
    sampler = sampler_of(kind)
    n = sampler.plan(np.array([[sampler.n0, 0], [sampler.n0 // 2, sampler.n0 - sampler.n0 // 2]]), NOISE, 64)["n"]
    assert sampler.allots == (n[0] != n[1])


def test_laws_without_a_radius_and_counted_outcomes_are_refused():
    laplace, dssn = spec_class("noise", "laplace").small(), spec_class("noise", "dssn").small()
    pilot = sampler_of("pilot")
    assert preview_problems(Gaussian(sigma=0.5), pilot, "l2", 64) == []
    assert "no l2 radius is known" in preview_problems(laplace, pilot, "l2", 64)[0]
    assert any("nothing to estimate" in one for one in preview_problems(dssn, sampler_of("enumerated"), "l1", 64))


def test_estimates_of_a_certified_table_agree_with_it():
    """A population with known probabilities, drawn by the pilot's rule and as the papers do."""
    rng = np.random.default_rng(3)
    p = ndtr(rng.normal(1.0, 1.0, 3000))
    hits = rng.binomial(150, p)
    found = Preview(hits, np.full(3000, 150), Gaussian(sigma=0.5), 64, "l2", 100_000, 0.001).accuracy(
        np.array([0.25, 0.5])
    )
    truth = pd.Series([(p > ndtr(0.5)).mean(), (p > ndtr(1.0)).mean()])
    assert found.value == pytest.approx(truth, abs=0.03)
