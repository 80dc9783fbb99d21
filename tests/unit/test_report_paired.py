"""Differences image by image to a table made elsewhere: hand-made numbers, and where they are shown."""

from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import drawn_by, line, provenance

from certflow.kinds.registry import spec_class
from certflow.report.layout import blocks
from certflow.report.lines import Line, SeedTable
from certflow.report.markdown import markdown
from certflow.report.notes import notes
from certflow.report.summary import summarise

RADII = [0.25, 0.5]


def table(idx, radii, right=None):
    """A table of images of label 3, all classified right unless `right` says otherwise."""
    right = np.ones(len(idx), bool) if right is None else np.asarray(right, bool)
    rows = {"idx": idx, "label": 3, "predict": np.where(right, 3, 4), "radius": radii, "correct": right.astype(int)}
    return pd.DataFrame(rows).assign(time="0:00:01", seconds=1.0)


OURS = [table([0, 20, 40, 60], [0.6, 0.3, 0.2, 0.9], [1, 1, 0, 1])]
THEIRS = [table([60, 20, 40, 80], [0.5, 0.2, 0.4, 0.7]), table([60, 20, 40, 80], [0.7, 0.4, 0.4, 0.7])]


def of(tables, method="gaussian", **more):
    record = None if more else provenance(0.25)
    norm = "l2" if more else None
    seeds = tuple(SeedTable(k, t, Path(f"{method}{k}.tsv"), record, norm) for k, t in enumerate(tables))
    return Line(method, "gauss-0.25", 0.25, "np" if record else "", seeds, **more)


@pytest.fixture(scope="module")
def summary():
    return summarise([of(OURS), of(THEIRS, "theirs", beside="gaussian")], RADII, resamples=0)


def test_differences_and_their_errors_by_hand(summary):
    """On images 20, 40, 60 ours has 0.3, 0 (wrong), 0.9; theirs, over two seeds, 0.3, 0.4, 0.6."""
    row = summary.iloc[0]
    gaps = np.array([0.0, -0.4, 0.3])
    assert (row["paired_with"], row["paired_images"]) == ("theirs", 3)
    assert row["paired_acr"] == pytest.approx(-0.1 / 3)
    assert row["paired_acr_se"] == pytest.approx(sqrt(((gaps - gaps.mean()) ** 2).sum() / 2 / 3))
    # At 0.25 ours holds 20 and 60; of theirs one seed of two holds 20, both hold 40 and 60.
    assert row["paired_certified_accuracy@0.25"] == pytest.approx((0.5 - 1 + 0) / 3)
    assert row["paired_clean_accuracy"] == pytest.approx(-1 / 3)
    assert row["paired_clean_accuracy_se"] == pytest.approx(1 / 3)
    assert not {"paired_seconds_per_image", "paired_samples_per_image"} & set(summary.columns)
    assert summary["paired_with"].tolist() == ["theirs", ""] and np.isnan(summary.iloc[1]["paired_acr"])


def test_preset_radii_are_compared_with_radii_rounded_down_to_them():
    """Asked about 0.25 and 0.5 alone, theirs has 0.25 and 0.5 on image 60, nothing and 0.25 on image 20, 0.25 on 40."""
    asked = spec_class("sampler", "decide").small(radii=RADII, judge="label")
    ours = table([0, 20, 40, 60], [0.5, 0.25, 0.0, 0.5], [1, 1, 0, 1]).assign(n0=10, n=1000, k=950, n_classes=10)
    first, theirs = drawn_by(of([ours]), asked), of(THEIRS, "theirs", beside="gaussian")
    row = summarise([first, theirs], RADII, resamples=0).iloc[0]
    assert row["preset_radii"] == "0.25 0.5" and row["acr"] == pytest.approx(1.25 / 4)
    assert row["paired_acr"] == pytest.approx((0.25 - 0.125 + 0 - 0.25 + 0.5 - 0.5) / 3)
    assert row["paired_certified_accuracy@0.25"] == pytest.approx((0.5 - 1 + 0) / 3)
    assert np.isnan(row[["clean_accuracy", "paired_clean_accuracy", "paired_abstention_rate"]].astype(float)).all()
    (note,) = [note for note in notes(summarise([first, theirs], RADII, resamples=0)) if "largest of" in note]
    assert note.startswith("Radii of gaussian are the largest of 0.25, 0.5 that was proven")


def test_rows_and_notes_say_it(summary):
    rows = blocks(summary)[0].groups[0].rows
    assert [row.role for row in rows] == ["ours", "difference", "external"]
    assert rows[1].cells[0].text == "ours − theirs, by image"
    acr = rows[1].cells[1]
    assert (acr.text, acr.small) == ("−0.033", "± 0.203")
    (note,) = [note for note in notes(summary) if note.startswith("Differences by image")]
    assert "gaussian at σ = 0.25 − theirs, over 3 images." in note
    assert "ours − theirs, by image" in markdown(blocks(summary), [], "t")


@pytest.mark.parametrize("change", [{"method": "macer"}, {"noise": "gauss-0.5", "sigma": 0.25}])
def test_other_methods_and_noises_have_no_such_row(change):
    lines = [replace(of(OURS), **change), of(THEIRS, "theirs", beside="gaussian")]
    assert (summarise(lines, RADII, resamples=0)["paired_with"] == "").all()


def test_tables_without_a_common_image_are_not_compared():
    lines = [of(OURS), of([table([1, 2], [0.1, 0.2])], "theirs", beside="gaussian")]
    summary = summarise(lines, RADII, resamples=0)
    assert summary.iloc[0]["paired_images"] == 0 and np.isnan(summary.iloc[0]["paired_acr"])
    assert [row.role for row in blocks(summary)[0].groups[0].rows] == ["ours", "external"]
    assert any("no image is in both" in note for note in notes(summary))


def test_a_line_without_a_table_beside_it_is_as_before():
    row = summarise([line(images=20)], RADII, resamples=0).iloc[0]
    assert row["paired_with"] == "" and np.isnan(row["paired_images"])
