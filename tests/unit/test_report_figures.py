"""Figures show what the tables say, in files with embedded fonts and the same bytes each time."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from report_samples import drawn_by, external_line, line, linf, published_rows
from scipy.special import ndtri

from certflow.kinds.registry import spec_class
from certflow.kinds.spec import Record
from certflow.report.compare import PublishedCells
from certflow.report.cost import draw_cost, point
from certflow.report.curves import band, draw_curves, mean_curve, thresholds
from certflow.report.figures import FIGURES, write_figures
from certflow.report.metrics import certified_accuracy
from certflow.report.p_a import LEFT, cumulative, draw_p_a, probits, spaced_ticks
from certflow.report.series import arrange, keys
from certflow.report.settings import PlotSettings
from certflow.report.style import COLOURS, panels, rendered

CELLS = PublishedCells("cifar10", "cifar_resnet110", lookup=published_rows)
LINES = [
    line(method, sigma, seed=i) for sigma in (0.25, 0.5) for i, method in enumerate(["gaussian", "macer", "catrs"])
]


def test_every_format_is_written_with_the_same_bytes_each_time(tmp_path):
    names = [
        "certificate_curves.pdf",
        "certificate_curves.png",
        "certificate_curves.svg",
        "p_a.png",
        "p_a.svg",
        "cost.png",
    ]
    assert {name.partition(".")[0] for name in names} == set(FIGURES)
    for folder in ("a", "b"):
        write_figures(LINES[:1], PlotSettings(), [tmp_path / folder / name for name in names], CELLS)
    for name in names:
        first, second = (tmp_path / folder / name for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 5000
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        [*names, *(f"{name}.json" for name in FIGURES)]
    )


def test_fonts_are_embedded_and_nothing_is_loaded_from_elsewhere(tmp_path):
    write_figures(LINES[:2], PlotSettings(), [tmp_path / "p_a.pdf", tmp_path / "p_a.svg"])
    pdf, svg = (tmp_path / "p_a.pdf").read_bytes(), (tmp_path / "p_a.svg").read_text()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/CreationDate" not in pdf
    assert "<text" not in svg and "<dc:date>" not in svg
    assert not re.search(r'(href|src)="(?!#)', svg)


def test_unknown_names_and_formats_are_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"no figure of that name; known: certificate_curves, p_a, cost"):
        write_figures(LINES, PlotSettings(), [tmp_path / "p_a.png", tmp_path / "curve.png"])
    with pytest.raises(ValueError, match="pdf, svg or png"):
        write_figures(LINES, PlotSettings(), [tmp_path / "p_a.jpg"])
    assert not list(tmp_path.iterdir())


def test_curves_never_lie_above_the_certified_accuracy():
    ours = line(seeds=2)
    radii = thresholds(ours, 1.2)
    curve = mean_curve(ours, radii)
    between = np.linspace(0, 1.2, 4001)
    drawn = np.append(curve, 0.0)[
        np.searchsorted(radii, between, side="left")
    ]  # steps-pre: the value at the larger end
    exact = np.mean([certified_accuracy(e.table["correct"], e.table["radius"], between) for e in ours.seeds], axis=0)
    assert (drawn <= exact + 1e-12).all() and np.max(exact - drawn) < 0.05


def test_curves_end_with_the_drop_at_the_largest_radius():
    ours = line(n=100, mean=3.0)
    top = max(ours.seeds[0].table["radius"])
    curve = dict(zip(thresholds(ours, 2.0), mean_curve(ours, thresholds(ours, 2.0)), strict=True))
    assert curve[top] > 0.5 and max(curve) < top + 1e-6 and curve[max(curve)] == 0
    assert max(thresholds(ours, 0.2)) == 0.2


def test_curves_of_preset_radii_end_at_the_last_without_a_drop():
    decided = drawn_by(line(n=100, mean=3.0), spec_class("sampler", "decide").small(radii=[0.1, 0.25]))
    radii = thresholds(decided, 2.0)
    assert max(radii) == 0.25 and mean_curve(decided, radii)[-1] > 0.5
    (legend,) = draw_curves([decided], PlotSettings()).legends
    (text,) = (one.get_text() for one in legend.get_texts())
    assert "ACR ≥ " in text and "≥" not in draw_curves(LINES[:1], PlotSettings()).legends[0].get_texts()[0].get_text()


def test_what_was_asked_about_predictions_alone_is_a_point():
    predicted = drawn_by(line(), spec_class("sampler", "decide")(radii=[0.0]))
    (curve,) = draw_curves([predicted], PlotSettings()).axes[0].lines
    assert curve.get_xdata().tolist() == [0.0] and curve.get_marker() == "o"
    assert curve.get_ydata()[0] == pytest.approx(100 * predicted.seeds[0].table["correct"].mean())


def test_bands_surround_their_curve():
    ours = line(seeds=2)
    radii = thresholds(ours, 1.0)
    low, high = band(ours, radii)
    curve = mean_curve(ours, radii)
    assert (low <= curve + 1e-12).all() and (curve <= high + 1e-12).all() and (high - low).max() > 0.05


def test_one_panel_per_noise_level_when_methods_are_compared():
    panels = arrange(LINES)
    assert [panel.title for panel in panels] == ["σ = 0.25", "σ = 0.5"]
    assert [panel.title for panel in arrange([one for one in LINES if one.sigma == 0.5])] == ["σ = 0.5"]
    assert list(keys(panels)) == ["gaussian", "macer", "catrs"]
    for first, second in zip(panels[0].series, panels[1].series, strict=True):
        assert (first.label, first.colour, first.dash) == (second.label, second.colour, second.dash)


def test_one_panel_with_all_noise_levels_for_a_single_method():
    panels = arrange([line(sigma=s) for s in (0.12, 0.25, 0.5)])
    assert [s.label for s in panels[0].series] == ["σ = 0.12", "σ = 0.25", "σ = 0.5"] and len(panels) == 1


def test_certificates_are_told_apart_by_dash_and_methods_by_colour():
    (panel,) = arrange([line(m, certificate=c) for m in ("gaussian", "macer") for c in ("np", "dsrs")])
    looks = {s.label: (s.colour, s.dash) for s in panel.series}
    assert looks["gaussian, np"][0] == looks["gaussian, dsrs"][0] != looks["macer, np"][0]
    assert looks["gaussian, np"][1] == looks["macer, np"][1] != looks["gaussian, dsrs"][1]
    assert len(set(COLOURS)) == len(COLOURS)


def test_the_figure_shows_published_points_and_says_so():
    figure = draw_curves(LINES, PlotSettings(), CELLS)
    markers = [e for e in figure.axes[0].lines if e.get_marker() == "o"]
    assert len(markers) == 1 and markers[0].get_ydata() == pytest.approx([76.65, 60.8, 42.1])
    assert "published" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.get_text() for text in draw_curves(LINES, PlotSettings()).legends[0].get_texts()] == [
        "gaussian",
        "macer",
        "catrs",
    ]


def test_published_l2_radii_are_not_drawn_among_linf_ones():
    inside = [linf(one) for one in LINES]
    figure = draw_curves(inside, PlotSettings(), CELLS)
    assert not [e for e in figure.axes[0].lines if e.get_marker() == "o"]
    assert figure.axes[0].get_xlabel().startswith("ℓ∞ radius")


def test_axes_are_labelled_with_units_and_follow_the_settings():
    figure = draw_curves(LINES, PlotSettings(radius_max=0.5, title="Digits", width_inches=5.0))
    assert figure.axes[0].get_xlabel() == "ℓ2 radius (pixel units, [0,1] scale)"
    assert figure.axes[0].get_ylabel() == "certified accuracy (%)"
    assert figure.axes[1].get_xlim() == (0, 0.5) and figure.get_suptitle() == "Digits" and figure.get_figwidth() == 5.0


@pytest.mark.parametrize("draw", [draw_curves, draw_p_a])
def test_a_long_legend_takes_nothing_from_the_panels(draw):
    few, many = (draw([line(f"method-{i}") for i in range(count)], PlotSettings()) for count in (2, 7))
    for figure in (few, many):
        figure.draw_without_rendering()
    heights = [figure.axes[0].get_window_extent().height / figure.dpi for figure in (few, many)]
    assert heights[1] == pytest.approx(heights[0], abs=0.05) and many.get_figheight() > few.get_figheight() + 0.2


@pytest.mark.parametrize("draw", [draw_curves, draw_p_a])
def test_what_stands_below_panels_does_not_run_into_that_of_the_next(draw):
    figure = draw([line(method, sigma) for sigma in (0.25, 0.5, 1.0) for method in ("a", "b")], PlotSettings())
    figure.draw_without_rendering()
    axes = [axis for axis in figure.axes if axis.get_xlabel()]
    numbers = [(axis, text) for axis in axes for text in axis.get_xticklabels()]
    shown = [text for axis, text in numbers if axis.get_xlim()[0] <= text.get_position()[0] <= axis.get_xlim()[1]]
    for row in ([axis.xaxis.label for axis in axes], shown):
        ends = [text.get_window_extent() for text in row]
        assert len(ends) >= 3 and all(one.x1 < other.x0 for one, other in zip(ends, ends[1:], strict=False))


def test_every_row_of_panels_says_what_its_axis_shows():
    figure, axes = panels(5, PlotSettings(title="Five"), "share (%)")
    assert [axis.get_ylabel() for axis in axes] == ["share (%)", "", "", "share (%)", ""]
    assert len(figure.axes) == 5 and figure.get_suptitle() == "Five"


def test_the_distribution_of_p_a_is_the_empirical_one():
    ours = line(seeds=2)
    x, share = cumulative(probits(ours), 4.0)
    pooled = np.concatenate([entry.table["p_lower"].to_numpy() for entry in ours.seeds])
    assert share == pytest.approx([(ndtri(pooled) <= at).mean() for at in x]) and share[-1] == 1.0
    assert x[0] == LEFT


def test_p_a_figure_has_a_radius_scale_only_where_it_holds():
    ours = line()
    assert draw_p_a([ours], PlotSettings()).axes[0].child_axes
    other = line()
    other.seeds[0].table["radius"] *= 0.9
    assert not draw_p_a([other], PlotSettings()).axes[0].child_axes


def test_p_a_figure_leaves_out_lines_that_state_no_p_a(tmp_path):
    figure = draw_p_a([line(), external_line()], PlotSettings())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gaussian"]
    assert draw_p_a([external_line()], PlotSettings()) is None
    write_figures([external_line()], PlotSettings(), [tmp_path / "p_a.png"])
    assert (tmp_path / "p_a.png").exists()


def test_tick_labels_do_not_run_into_each_other():
    ticks = spaced_ticks(4.0, 1.8)
    assert {0.5, 0.9, 0.99, 0.9999} <= set(ticks) and 0.999 not in ticks
    assert 0.999 in spaced_ticks(4.0, 6.0)


def test_everything_abstains_is_drawable(tmp_path):
    write_figures([line(mean=-4.0)], PlotSettings(), [tmp_path / "certificate_curves.png", tmp_path / "p_a.png"])


def test_settings_are_checked():
    assert issubclass(PlotSettings, Record)
    for fields in (
        {"radius_max": 0.0},
        {"width_inches": 1.0},
        {"colour": "red"},
    ):
        with pytest.raises(ValueError):
            PlotSettings(**fields)


def test_the_cost_of_a_line_is_its_mean_draws_of_both_stages():
    ours = line(seeds=2, n=1000)
    draws, acr, accuracy = point(ours, 0.25)
    tables = [entry.table for entry in ours.seeds]
    assert draws == 1100
    assert acr == pytest.approx(np.mean([(t["correct"] * t["radius"]).mean() for t in tables]))
    assert accuracy == pytest.approx(np.mean([((t["correct"] == 1) & (t["radius"] >= 0.25)).mean() for t in tables]))


def test_draws_under_a_second_law_cost_as_well():
    plain = line(n=1000)
    entries = tuple(replace(e, table=e.table.assign(n_q=500)) for e in plain.seeds)
    assert point(replace(plain, seeds=entries), 0.25)[0] == point(plain, 0.25)[0] + 500 == 1600


def test_the_cost_figure_shows_one_point_for_each_line_that_states_its_draws(tmp_path):
    lines = [line(n=500, certificate="small"), line(n=4000, certificate="large"), external_line()]
    figure = draw_cost(lines, PlotSettings(), [0.1, 0.25, 0.5])
    left, right = figure.axes
    assert [artist.get_xdata()[0] for artist in left.lines] == [600, 4100]
    assert right.get_ylabel() == "certified accuracy at 0.25 (%)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["small", "large"]
    assert draw_cost([external_line()], PlotSettings(), [0.1]) is None
    write_figures([external_line()], PlotSettings(), [tmp_path / "cost.png"])
    assert (tmp_path / "cost.png").exists()


def test_the_cost_figure_says_where_an_acr_is_a_bound():
    decided = drawn_by(line(seed=1), spec_class("sampler", "decide").small(radii=[0.1, 0.25]))
    for lines, bound in ((LINES[:1], False), ([LINES[0], decided], True)):
        left = draw_cost(lines, PlotSettings(), [0.25]).axes[0]
        assert ("at least" in left.get_ylabel()) == bound


def test_the_cost_figure_shows_the_accuracy_at_a_radius_that_all_lines_know():
    decided = drawn_by(line(seed=1), spec_class("sampler", "decide").small(radii=[0.1, 0.25]))
    for radii, shown in (([0.1, 0.2, 0.25], "0.25"), ([0.05, 0.2, 0.3], "0.2")):
        right = draw_cost([LINES[0], decided], PlotSettings(), radii).axes[1]
        assert right.get_ylabel() == f"certified accuracy at {shown} (%)"
        assert [bool(np.isfinite(artist.get_ydata()[0])) for artist in right.lines] == [True, shown == "0.25"]


def test_no_two_lines_of_the_cost_figure_look_the_same():
    lines = [line(certificate=f"c{number}") for number in range(30)]
    drawn = draw_cost(lines, PlotSettings(), [0.25]).axes[0].lines
    assert len({(artist.get_color(), artist.get_marker()) for artist in drawn}) == 30


LITERAL = ["$5 and $6", "$", r"a $\frac{", "50 % of \\alpha", "_x_{1}^2", "<b>&amp;", "a\nb", r"\$5", "#1 ~ {}"]
"""Names as people give them, some of which are formulas to matplotlib, or broken ones."""


def test_names_and_titles_are_shown_as_they_were_typed():
    lines = [line(name, 0.25, images=30) for name in LITERAL]
    settings = PlotSettings(title="$5 and $6")
    for figure in (draw_curves(lines, settings), draw_p_a(lines, settings), draw_cost(lines, settings, [0.25])):
        for name in LITERAL:
            texts = [text for text in figure.findobj(Text) if text.get_text().startswith(name)]
            assert texts and not any(text.get_parse_math() for text in texts)
        assert rendered(figure, "svg")


def test_noise_levels_are_shown_as_they_were_typed():
    lines = [replace(line(method, 0.25, images=30), noise=name) for method in "ab" for name in ("$5 and $6", "$x")]
    assert rendered(draw_curves(lines, PlotSettings()), "svg")


def test_a_formula_of_ours_is_one():
    (label,) = {axis.get_xlabel() for axis in draw_p_a(LINES[:1], PlotSettings()).axes if "$" in axis.get_xlabel()}
    found = [text for text in draw_p_a(LINES[:1], PlotSettings()).findobj(Text) if text.get_text() == label]
    assert found and all(text.get_parse_math() for text in found)
