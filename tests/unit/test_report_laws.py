"""No number is compared with one of another noise or norm: presets, published tables, envelopes, tables, series and figures."""

import pytest
import yaml
from report_samples import in_norm, line, published_rows, under

from certflow.config import load
from certflow.errors import ConfigError
from certflow.presets import preset_settings
from certflow.report import envelopes
from certflow.report.compare import PublishedCells
from certflow.report.cost import draw_cost
from certflow.report.curves import draw_curves
from certflow.report.layout import blocks
from certflow.report.names import noise_names
from certflow.report.published import published
from certflow.report.robustness import Robustness, summarise_corruptions
from certflow.report.series import arrange, keys
from certflow.report.settings import PlotSettings
from certflow.report.summary import summarise

CELLS = PublishedCells("cifar10", "cifar_resnet110", lookup=published_rows)
REAL = PublishedCells("cifar10", "cifar_resnet110")
OURS = line(images=100)
OTHERS = {
    "noise": under(OURS, "generalized_gaussian"),
    "l1": in_norm(OURS, "l1"),
    "linf": in_norm(OURS, "linf"),
    "both": in_norm(under(OURS, "uniform"), "l1"),
}


@pytest.mark.parametrize("cells", [CELLS, REAL])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_published_numbers_stand_beside_their_own_noise_and_norm_alone(cells, other):
    assert cells.of(OURS) is not None and cells.of(other) is None
    row = summarise([other], [0.25], cells, resamples=10).iloc[0]
    assert row["published_source"] == row["comparison"] == "" and not row["published_same_images"]
    assert row.filter(like="published_").drop(["published_source", "published_same_images"]).isna().all()
    shown = [
        row.role for block in blocks(summarise([other], [0.25], cells, resamples=10)) for row in block.groups[0].rows
    ]
    assert set(shown) == {"ours"}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_figures_show_no_published_points_of_another_noise_or_norm(other):
    def circles(one):
        return [e for e in draw_curves([one], PlotSettings(), CELLS).axes[0].lines if e.get_marker() == "o"]

    assert circles(OURS) and not circles(other)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_corrupted_copies_are_compared_under_the_same_noise_and_norm(other):
    spec = {
        "radii": [0.25],
        "entries": {"c10": {"clean": [], "averaged": [], "published": "cifar10c"}},
        "published": {"dataset": "cifar10", "arch": "cifar_resnet110"},
    }

    def compared(one):
        entry = one.seeds[0]
        entry.provenance.notes["images_per_severity"] = 20
        table = summarise_corruptions([Robustness(one, {("c10", "fog"): one})], spec, resamples=0)
        return table["published_source"].str.len().gt(0).any()

    assert compared(OURS) and not compared(other)


def test_published_rows_are_looked_up_by_noise_and_norm():
    key = ("cifar10", "cifar_resnet110", "gaussian")
    assert len(published(*key, "gaussian", "l2", 0.5))
    assert not len(published(*key, "generalized_gaussian", "l2", 0.5)) and not len(
        published(*key, "gaussian", "l1", 0.5)
    )


def test_presets_are_looked_up_by_noise():
    assert preset_settings("paper", "mnist", "gaussian", "gaussian", 0.5)["epochs"] == 90
    with pytest.raises(ConfigError, match="no row for mnist gaussian under generalized_gaussian sigma 0.5"):
        preset_settings("paper", "mnist", "gaussian", "generalized_gaussian", 0.5)


def test_envelopes_are_said_of_their_own_noise_and_norm_alone():
    key = ("cifar10", "resnet110")
    assert "ℓ2 radii" in envelopes.sentence(*key, {"gaussian", "uniform"}, "l2")
    assert envelopes.sentence(*key, {"uniform"}, "l2") == envelopes.sentence(*key, {"gaussian"}, "l1") == ""


@pytest.mark.parametrize(
    ("noise", "certificate", "compared"),
    [
        ({"kind": "gaussian", "sigma": 0.5}, {"kind": "neyman_pearson"}, True),
        (
            {"kind": "gaussian", "sigma": 0.5},
            {"kind": "inscribed", "norm": "linf", "of": {"kind": "neyman_pearson"}},
            False,
        ),
    ],
)
def test_a_recipe_is_a_papers_for_the_norm_that_its_row_says(root, noise, certificate, compared):
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["noises"]["mine"] = noise
    raw["certificates"]["mine"] = {"sampler": "cohen", "alpha": 0.001, **certificate}
    changed = {"noises": ["mine"], "certificates": ["mine"], "methods": ["gaussian"]}
    raw["experiments"]["mnist"] |= changed | {"envelopes": {"dataset": "cifar10", "arch": "resnet110"}}
    spec = load(raw).table_spec("mnist")
    assert spec["published_as"] == {"gaussian": {"mine": "gaussian" if compared else ""}}
    assert ("Published envelopes" in spec["remark"]) == compared


def test_noises_of_one_level_are_told_apart_wherever_they_are_shown():
    """Three laws at sigma 0.25, the third with a certificate of its own: one panel and one group, three names."""
    lines = [
        under(line("a", 0.25, images=60, published_as=""), "uniform"),
        under(line("a", 0.25, images=60, published_as=""), "ssn"),
        under(line("a", 0.25, certificate="all", images=60, published_as=""), "dssn"),
    ]
    (panel,) = arrange(lines)
    assert [s.label for s in panel.series] == ["uniform", "ssn", "dssn"]
    assert len({s.colour for s in panel.series}) == 3 and list(keys([panel])) == ["uniform", "ssn", "dssn"]
    legend = draw_cost(lines, PlotSettings(), [0.25]).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["uniform", "ssn", "dssn"]
    block = blocks(summarise(lines, [0.25], resamples=10))[0]
    assert block.columns[:3] == ("method", "noise", "certificate") and [g.title for g in block.groups] == ["σ = 0.25"]
    assert [row.cells[1].text for row in block.groups[0].rows] == ["uniform", "ssn", "dssn"]


def test_levels_are_panels_and_laws_are_colours():
    lines = [under(line("a", s, images=60), kind) for s in (0.25, 0.5) for kind in ("uniform", "ssn")]
    first, second = arrange(lines)
    assert (first.title, second.title) == ("σ = 0.25", "σ = 0.5")
    for one, other in zip(first.series, second.series, strict=True):
        assert (one.label, one.colour) == (other.label, other.colour)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([("g", 0.25, "gaussian"), ("h", 0.5, "gaussian")], {"g": "", "h": ""}),
        ([("g", 0.25, "gaussian"), ("u", 0.25, "uniform")], {"g": "gaussian", "u": "uniform"}),
        ([("g", 0.25, "gaussian"), ("u", 0.25, "")], {"g": "gaussian", "u": "u"}),
        ([("g4", 0.25, "gg"), ("g9", 0.25, "gg"), ("u", 1.0, "uniform")], {"g4": "g4", "g9": "g9", "u": "uniform"}),
        ([("g", 0.25, ""), ("g", 0.25, "gaussian"), ("u", 0.25, "uniform")], {"g": "gaussian", "u": "uniform"}),
    ],
)
def test_a_noise_is_named_where_its_level_does_not_tell_it(entries, names):
    assert noise_names(entries) == names
