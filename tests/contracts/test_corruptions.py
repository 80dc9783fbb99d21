"""What every source of corrupted images promises, and what its copies are where they are computed."""

from dataclasses import replace

import numpy as np
import pytest
from catalogue import small

from certflow.data.base import DataInfo
from certflow.data.splits import ArraySplit
from certflow.kinds.registry import kinds

KINDS = kinds("corruption")
INFO = DataInfo(10, (3, 16, 16))


@pytest.mark.parametrize("kind", KINDS)
def test_it_states_what_it_has(kind):
    spec = small("corruption", kind)
    assert spec.chosen() and set(spec.chosen()) <= set(spec.known) and spec.clean <= set(spec.known)
    assert spec.levels() and list(spec.levels()) == sorted(set(spec.levels()))
    first = spec.of(spec.chosen()[0])
    assert first["name"] == spec.chosen()[0] and not {"root", "names"} & set(first)
    assert spec.of(spec.chosen()[-1]) == first or len(spec.chosen()) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_decoded_on_the_way_are_refused(kind):
    assert any("held in memory" in line for line in small("corruption", kind).problems(replace(INFO, streams=True)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not small("corruption", kind).files("any")])
def test_computed_copies_come_severity_by_severity(kind):
    spec = small("corruption", kind)
    assert spec.problems(INFO) == []
    pixels = np.random.default_rng(0).integers(0, 256, (6, *INFO.shape), dtype=np.uint8)
    clean, kept = ArraySplit(pixels, np.arange(6), "test"), pixels.copy()
    for name in spec.chosen():
        copies, files = spec.read(name, clean, INFO)
        again, _ = spec.read(name, clean, INFO)
        assert copies.shape == (6 * len(spec.levels()), *INFO.shape) and copies.dtype == np.uint8 and files == []
        assert np.array_equal(copies, again) and np.array_equal(pixels, kept)
        assert name in spec.clean or not np.array_equal(copies[-6:], pixels)
