"""What a report says of tables whose images were drawn until they were decided, or until they were measured."""

from dataclasses import replace

import numpy as np
import pytest
from report_samples import line

from certflow.kinds.registry import kinds, spec_class
from certflow.report.decided import decided


def drawn_by(sampler):
    """A line whose record names that sampler, on digits."""
    plain = line(images=60)
    (entry,) = plain.seeds
    facts = {"sampler": sampler.canonical(), "dataset": spec_class("dataset", "digits").small().canonical()}
    return replace(
        plain, seeds=(replace(entry, provenance=replace(entry.provenance, spec=entry.provenance.spec | facts)),)
    )


@pytest.mark.parametrize("kind", kinds("sampler"))
def test_every_sampler_has_its_columns(kind):
    sampler = spec_class("sampler", kind).small()
    found = decided(drawn_by(sampler))
    assert np.isfinite(found["least_samples"]) == sampler.decides
    assert found["judged"] == ("label" if sampler.judges_label else "selected" if sampler.sequential else "")
    assert ("abstention_rate" in found) == sampler.judges_label


def test_the_least_draws_are_fewer_than_those_of_a_fixed_number():
    found = decided(drawn_by(spec_class("sampler", "decide").small(radii=[0.0, 0.25])))
    assert 10 < found["least_samples"] < 1000
