"""The report's metrics are the field's, computed from full-precision radii."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import certificate_table, provenance

from certflow.report.columns import Column, certified_at, metrics
from certflow.report.lines import Line, SeedTable
from certflow.report.metrics import (
    average_certified_radius,
    certified,
    certified_accuracy,
    image_values,
    stage_2_draws,
)

RADIUS = np.array([0.5, 1.2, 0.9, 0.0, 1.25])
CORRECT = np.array([1, 1, 0, 0, 1])

tables = st.lists(st.tuples(st.booleans(), st.floats(0, 4, allow_subnormal=False)), min_size=1, max_size=30).map(
    lambda rows: (np.array([c for c, _ in rows]), np.array([r for _, r in rows]))
)


def test_hand_computed_table():
    found = certified_accuracy(CORRECT, RADIUS, [0.0, 0.5, 1.25, 1.26])
    assert found.tolist() == [0.6, 0.6, 0.2, 0.0]
    assert average_certified_radius(CORRECT, RADIUS) == pytest.approx(0.59, abs=1e-15)


@given(tables, st.lists(st.floats(0, 4), min_size=1, max_size=8))
def test_certified_accuracy_is_the_share_counted_one_by_one(table, radii):
    correct, radius = table
    slow = [sum(c and r >= t - 1e-9 for c, r in zip(correct, radius, strict=True)) / len(radius) for t in radii]
    assert certified_accuracy(correct, radius, radii).tolist() == slow
    assert certified(correct, radius, radii).mean(axis=0).tolist() == pytest.approx(slow, abs=1e-15)


@given(tables)
def test_acr_is_the_area_under_the_curve(table):
    correct, radius = table
    ends = np.unique(np.append(radius, 0.0))
    # Between two neighbouring radii the curve is constant, with the value that it has at the larger one.
    area = np.sum(np.diff(ends) * [(correct & (radius >= end)).mean() for end in ends[1:]])
    assert average_certified_radius(correct, radius) == pytest.approx(area, abs=1e-12)


def test_thresholds_made_by_floating_steps_are_reached():
    assert 0.1 * 3 > 0.3
    assert certified_accuracy([1], [0.3], [0.1 * 3]) == [1.0]
    assert certified_accuracy([1], [1.25], np.arange(0, 1.3, 0.05)[[25]]) == [1.0]


def test_radii_are_never_rounded_up():
    assert certified_accuracy([1], [1.90574], [1.91]) == [0.0]
    assert certified_accuracy([1], [1.25 - 1e-8], [1.25]) == [0.0]


def test_image_values_average_to_the_metrics():
    table = certificate_table(300, 0.5, seed=5)
    radii = [0.0, 0.25, 1.0]
    means = dict(zip(map(str, metrics(radii)), image_values(table, radii).mean(axis=0), strict=True))
    assert means["acr"] == pytest.approx(average_certified_radius(table["correct"], table["radius"]), rel=1e-14)
    assert means["clean_accuracy"] == (table["predict"] == table["label"]).mean() == means[Column(certified_at(0.0))]
    assert means["abstention_rate"] == (table["predict"] == -1).mean() > 0
    assert means["samples_per_image"] == 1100
    assert means["seconds_per_image"] == pytest.approx(table["seconds"].mean())


def test_every_draw_of_an_image_is_counted_also_where_it_got_none_of_stage_2():
    table = certificate_table(4, 0.5).assign(n0=500, n=[0, 200, 99_500, 100_000])
    assert list(image_values(table, [0.5])[:, 3]) == [500, 700, 100_000, 100_500]
    assert list(image_values(table.assign(n_q=[0, 0, 10, 10]), [0.5])[:, 3]) == [500, 700, 100_010, 100_510]


def test_columns_missing_from_tables_made_elsewhere_are_unknown():
    table = certificate_table(5, 0.5)[["idx", "label", "predict", "radius", "correct", "time"]]
    values = image_values(table, [0.5])
    assert np.isnan(values[:, 3:5]).all() and np.isfinite(values[:, [0, 1, 2, 5]]).all()


def test_column_names_give_the_radius_back():
    for radius in (0.1 * 3, 1 / 3, 2.0, 1e-7):
        assert float(Column(certified_at(radius)).partition("@")[2]) == radius


@pytest.mark.parametrize(
    ("correct", "radius", "message"),
    [
        ([], [], "at least one image"),
        ([1, 0], [0.5], "at least one image"),
        ([2], [0.5], "0 or 1"),
        ([1], [np.nan], "finite"),
        ([1], [-0.5], "not negative"),
    ],
)
def test_bad_tables_are_refused(correct, radius, message):
    with pytest.raises(ValueError, match=message):
        certified_accuracy(correct, radius, [0.0])


GOLDEN = {
    "certify/cifar10/resnet110/noise_0.12/test/sigma_0.12": ([0.814, 0.586, 0, 0, 0, 0, 0, 0], 0.2701, 0.038),
    "certify/cifar10/resnet110/noise_0.50/test/sigma_0.50": (
        [0.652, 0.546, 0.414, 0.320, 0.234, 0.152, 0.094, 0],
        0.5375,
        0.166,
    ),
    "certify/imagenet/resnet50/noise_0.50/test/sigma_0.50": (
        [0.572, 0.518, 0.458, 0.424, 0.372, 0.330, 0.286, 0],
        0.7325,
        0.164,
    ),
}


def test_published_per_image_results_give_the_published_numbers(shared):
    """locuslab/smoothing, per-image outputs of Cohen et al. 2019; certified accuracies recomputed from them elsewhere."""
    everything = pd.read_csv(shared("reference/cohen_golden.csv"))
    for source, (curve, acr, abstains) in GOLDEN.items():
        rows = everything[everything["source"] == source]
        radii = [0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
        assert certified_accuracy(rows["correct"], rows["radius"], radii) == pytest.approx(curve, abs=1e-12)
        assert average_certified_radius(rows["correct"], rows["radius"]) == pytest.approx(acr, abs=5e-5)
        assert (rows["predict"] == -1).mean() == pytest.approx(abstains, abs=1e-12)


def test_draws_of_a_second_law_are_counted():
    table = certificate_table(5, 0.5)
    assert stage_2_draws(table).tolist() == [1000] * 5
    table["n_q"] = [500, 500, 0, 500, 500]
    assert stage_2_draws(table).tolist() == [1500, 1500, 1000, 1500, 1500]
    means = dict(zip(map(str, metrics([0.5])), image_values(table, [0.5]).mean(axis=0), strict=True))
    assert means["samples_per_image"] == 1500
    entry = SeedTable(0, table, Path("x.tsv"), provenance(0.5))
    assert Line("a", "b", 0.5, "c", (entry,)).draws == (1000, 1500)
