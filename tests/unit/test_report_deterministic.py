"""Certificates in l1 that counted every outcome of the noise: alpha 0, p_A of 1, radii that are no quantiles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_samples import certificate_table, line, provenance, under
from scipy.special import ndtri

from certflow.report.columns import Column, Statistic, certified_at
from certflow.report.curves import draw_curves
from certflow.report.figures import write_figures
from certflow.report.latex import escape
from certflow.report.layout import blocks
from certflow.report.lines import Line, SeedTable
from certflow.report.notes import guarantees
from certflow.report.p_a import RIGHT, draw_p_a, probits
from certflow.report.settings import PlotSettings
from certflow.report.summary import summarise

OUTCOMES, SIGMA = 441, 0.5
RADII = [0.25, 0.5, 5.0]


@pytest.fixture(scope="module")
def counted():
    """A line as the exact l1 certificate of dependent splitting noise makes it: k of 441 outcomes, multiples of 1/255."""
    table = certificate_table(150, SIGMA, n=OUTCOMES)
    radius = np.where(table["predict"] >= 0, (2 * table["k"] - OUTCOMES) // 2 / 255, 0.0)
    table = table.assign(n0=0, k0=0, p_lower=table["k"] / OUTCOMES, radius=np.maximum(radius, 0.0))
    assert (table["p_lower"] == 1).any() and (table["predict"] == -1).any()
    record = provenance(SIGMA, alpha=0.0, norm="l1", domain="8-bit grid", noise="dssn")
    return Line("a", "dssn-0.50", SIGMA, "all", (SeedTable(0, table, Path("t.tsv"), record),))


def test_the_guarantee_is_certain_and_says_where_it_holds(counted):
    summary = summarise([counted], RADII, resamples=10)
    row = summary.iloc[0]
    assert (row["alpha"], row["expected_failures"], row["failures_quantile"]) == (0, 0, 0)
    for radius in RADII:
        assert row[Column(certified_at(radius), Statistic.BOUND)] == row[Column(certified_at(radius))]
    (said,) = guarantees(summary)
    assert said.startswith(
        "Deterministic: every outcome of the noise was counted; radii hold for 8-bit images at the network's input size, with "
        "no probability involved."
    )


def test_beside_drawn_noise_each_says_what_it_promises(counted):
    drawn = under(line("a", SIGMA, images=150), "uniform")
    drawn = replace(drawn, seeds=(replace(drawn.seeds[0], provenance=provenance(SIGMA, norm="l1", noise="uniform")),))
    said = guarantees(summarise([drawn, counted], RADII, resamples=10))
    assert [text.partition(" ")[0] for text in said] == ["Each", "Deterministic", "Noise"]
    assert "Each radius of uniform is wrong with probability at most α = 0.001" in said[0]
    assert (
        said[1].startswith("Deterministic (dssn): every outcome")
        and "Noise of uniform: float (the law up to" in said[2]
    )


def test_alpha_is_what_the_table_claims_whatever_its_settings_say(counted):
    entry = counted.seeds[0]
    spec = {**entry.provenance.spec, "certificate": {**entry.provenance.spec["certificate"], "alpha": 0.25}}
    other = replace(counted, seeds=(replace(entry, provenance=replace(entry.provenance, spec=spec)),))
    assert other.alpha == 0


def test_a_probability_of_one_has_a_place_on_the_axis(counted, tmp_path):
    found = probits(counted)
    assert np.isfinite(found[-1]) and found[-1] == RIGHT == pytest.approx(ndtri(1 - 1e-7))
    axis = draw_p_a([counted], PlotSettings()).axes[0]
    (curve,) = [artist for artist in axis.lines if len(artist.get_xdata()) > 2]
    x, share = curve.get_xdata(), curve.get_ydata()
    assert RIGHT in x and RIGHT < axis.get_xlim()[1] < RIGHT + 1
    assert (share[x >= RIGHT] == 100).all()
    assert share[x < RIGHT].max() == pytest.approx(100 * (counted.seeds[0].table["p_lower"] < 1).mean())
    write_figures([counted], PlotSettings(), [tmp_path / "p_a.png"])


def test_radii_over_sigma_are_shown_only_where_they_are_quantiles(counted):
    assert not draw_p_a([counted], PlotSettings()).axes[0].child_axes
    assert draw_p_a([line(sigma=SIGMA)], PlotSettings()).axes[0].child_axes
    nothing = line(sigma=SIGMA, mean=-9.0, images=30)
    assert (nothing.seeds[0].table["radius"] == 0).all()
    assert not draw_p_a([nothing], PlotSettings()).axes[0].child_axes


def test_abstaining_is_shown_only_where_no_image_below_one_half_is_certified(counted):
    """With all outcomes counted the class with most votes is certified, though it may have less than half of them."""
    table = counted.seeds[0].table
    below = table.assign(predict=np.where(table["p_lower"] < 0.5, table["label"], table["predict"]))
    below = below.assign(correct=(below["predict"] == below["label"]).astype(int))
    other = replace(counted, seeds=(replace(counted.seeds[0], table=below),))

    def shaded(*lines):
        return [
            text.get_text() for text in draw_p_a(lines, PlotSettings()).axes[0].texts if text.get_text() == "abstains"
        ]

    assert (below["p_lower"] < 0.5).any() and shaded(counted) and shaded(line(sigma=SIGMA))
    assert not shaded(other) and not shaded(line(sigma=SIGMA), other)


def test_the_norm_is_l1_in_tables_figures_and_latex(counted):
    shown = blocks(summarise([counted], RADII, resamples=10))
    assert shown[0].over == "certified accuracy (%) at ℓ1 radius" and escape(shown[0].over).endswith(r"$\ell_1$ radius")
    axis = draw_curves([counted], PlotSettings()).axes[0]
    assert axis.get_xlabel() == "ℓ1 radius (pixel units, [0,1] scale)"
    top = counted.seeds[0].table["radius"].max()
    assert axis.get_xlim()[1] == pytest.approx(1.04 * top)  # whatever multiple of sigma that is


@pytest.mark.parametrize(("text", "wanted"), [("ℓ1 ℓ2 ℓ∞", r"$\ell_1$ $\ell_2$ $\ell_\infty$"), ("ℓ3", r"$\ell$3")])
def test_norms_in_latex(text, wanted):
    assert escape(text) == wanted
