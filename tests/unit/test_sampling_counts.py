"""Counts of one class per image."""

import numpy as np

from certflow.sampling.counts import count_of, largest_other_count

COUNTS = np.array([[3, 1, 2], [0, 4, 4]])


def test_counts_are_those_of_each_images_class():
    assert count_of(COUNTS, np.array([1, 0])).tolist() == [1, 0]


def test_the_largest_other_count_leaves_out_each_images_class_and_changes_no_count():
    kept = COUNTS.copy()
    assert largest_other_count(COUNTS, np.array([0, 1])).tolist() == [2, 4]
    assert np.array_equal(COUNTS, kept)
