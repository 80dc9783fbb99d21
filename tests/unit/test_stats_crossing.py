"""Searches over whole numbers, many at a time."""

import numpy as np

from certflow.stats.crossing import first_good


def test_each_entry_is_the_first_good_number_above_its_bound_and_at_most_the_other():
    wanted = np.array([0, 1, 4, 9, 10, 99])
    asked = []

    def good(numbers):
        asked.append(numbers)
        return numbers >= wanted

    assert first_good(-1, np.full(6, 10), good).tolist() == [0, 1, 4, 9, 10, 10]
    assert all((numbers > -1).all() and (numbers <= 10).all() for numbers in asked), "nothing outside is asked about"
    assert len(asked) <= 4
    assert first_good(3, 7, lambda number: number >= 6) == 6
    assert first_good(np.zeros(0), 5, good).shape == (0,)
