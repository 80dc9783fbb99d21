"""What a report says of tables whose images were drawn until they were decided, or until they were measured."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_samples import drawn_by, line

from certflow.kinds.registry import kinds, spec_class
from certflow.report.columns import Column, Statistic, certified_at
from certflow.report.cost import point
from certflow.report.decided import decided, preset_radii, rounded_down
from certflow.report.own_envelope import envelopes_of
from certflow.report.summary import summarise

RADII = [0.0, 0.25]


@pytest.mark.parametrize("kind", kinds("sampler"))
def test_every_sampler_has_its_columns(kind):
    sampler = spec_class("sampler", kind).small()
    found = decided(drawn_by(line(images=60), sampler), RADII)
    assert np.isfinite(found["least_samples"]) == sampler.decides
    assert found["judged"] == ("label" if sampler.judges_label else "selected" if sampler.sequential else "")
    assert ("abstention_rate" in found) == sampler.judges_label
    assert found["preset_radii"] == (" ".join(f"{radius:g}" for radius in sampler.radii) if sampler.decides else "")


@pytest.mark.parametrize("target", ["label", "selected"])
def test_certificates_of_labels_predict_nothing_either(target):
    double = drawn_by(line(images=60), spec_class("sampler", "double").small())
    (seed,) = double.seeds
    certificate = spec_class("certificate", "dsrs")(sampler="double", target=target).canonical()
    record = replace(seed.provenance, spec={**seed.provenance.spec, "certificate": certificate})
    found = decided(replace(double, seeds=(replace(seed, provenance=record),)), RADII)
    assert (found["judged"] == "label") == ("abstention_rate" in found) == (target == "label")


@pytest.mark.parametrize(("radii", "known"), [([0.0, 0.25], True), ([0.25], False)])
def test_accuracy_without_perturbation_is_known_where_radius_0_was_asked_about(radii, known):
    found = decided(drawn_by(line(images=60), spec_class("sampler", "decide").small(radii=radii)), RADII)
    assert ("clean_accuracy" not in found) == known


def test_radii_are_rounded_down_to_those_that_were_asked_about():
    given = pd.DataFrame(
        {"radius": [0.0, 0.1, 0.3 - 1e-12, 0.3, 0.59, 2.0], "correct": [1, 1, 1, 1, 0, 1], "predict": 4}
    )
    found = rounded_down(given, np.array([0.1, 0.1 * 3, 0.6]))
    assert found["radius"].tolist() == [0, 0.1, 0.1 * 3, 0.1 * 3, 0.1 * 3, 0.6]
    assert found["correct"].tolist() == [0, 1, 1, 1, 0, 1]
    assert found["predict"].tolist() == [-1, 4, 4, 4, 4, 4]  # what reaches none has no answer
    assert rounded_down(given, np.array([0.0, 1.0]))["correct"].tolist() == given["correct"].tolist()


def test_the_least_draws_are_fewer_than_those_of_a_fixed_number():
    found = decided(drawn_by(line(images=60), spec_class("sampler", "decide").small(radii=[0.0, 0.25])), RADII)
    assert 10 < found["least_samples"] < 1000


def test_what_nobody_asked_about_is_unknown():
    """A radius between two preset ones would show the larger one's share, and one beyond the last 0."""
    line_ = drawn_by(line(images=60), spec_class("sampler", "decide").small(radii=[0.0, 0.1 * 3]))
    summary = summarise([line_], [0.0, 0.2, 0.3, 0.5])
    row = summary.iloc[0]
    for radius, known in ((0.0, True), (0.2, False), (0.3, True), (0.5, False)):
        for statistic in (Statistic.MEAN, Statistic.LOW, Statistic.HIGH, Statistic.BOUND):
            assert np.isfinite(row[Column(certified_at(radius), statistic)]) == known, (radius, statistic)
        assert np.isfinite(point(line_, radius)[2]) == known
    best = envelopes_of(summary).iloc[0]
    assert (
        np.isnan(best[Column(certified_at(0.2))]) and best[Column(certified_at(0.3))] == row[Column(certified_at(0.3))]
    )


def test_radii_of_any_size_that_are_read_from_counts_of_decide_are_not_preset():
    line_ = drawn_by(line(images=60), spec_class("sampler", "decide").small(radii=[0.0, 0.25]))
    (seed,) = line_.seeds
    anytime = spec_class("certificate", "anytime")(sampler="decide").canonical()
    record = replace(seed.provenance, spec={**seed.provenance.spec, "certificate": anytime})
    other = replace(line_, seeds=(replace(seed, provenance=record),))
    assert len(preset_radii(line_)) == 2 and not len(preset_radii(other))
    found = decided(other, [0.0, 0.2])
    assert found["preset_radii"] == "" and found["judged"] == "selected" and np.isnan(found["least_samples"])
    assert Column(certified_at(0.2)) not in found
