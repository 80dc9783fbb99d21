import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certflow.data.subset import Images


@given(st.integers(1, 60), st.integers(0, 70), st.integers(1, 9), st.none() | st.integers(1, 20))
def test_indices_agree_with_a_walk_over_the_split(total, skip, stride, limit):
    expected = []
    for i in range(total):
        if i >= skip and (i - skip) % stride == 0 and (limit is None or len(expected) < limit):
            expected.append(i)
    images = Images(skip=skip, stride=stride, max=limit)
    if not expected:
        with pytest.raises(ValueError, match=f"skip={skip} leaves none of the {total}"):
            images.indices(total)
        return
    found = images.indices(total)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_the_usual_500_images_of_cifar10():
    indices = Images(stride=20).indices(10_000)
    assert len(indices) == 500
    assert indices[:3].tolist() == [0, 20, 40]
    assert indices[-1] == 9980


@pytest.mark.parametrize(
    "wrong", [{"max": 0}, {"stride": 0}, {"skip": -1}, {"split": "val"}, {"start": 1}, {"max": "5"}]
)
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(ValidationError):
        Images(**wrong)
