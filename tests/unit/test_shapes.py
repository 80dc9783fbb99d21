"""Annotations of shapes are checked in the tests: a call with arrays of other shapes fails."""

import pytest
import torch
from jaxtyping import TypeCheckError

from certflow.training import losses


def test_shapes_that_do_not_belong_together_are_noticed():
    logits = torch.zeros(2, 5, 3)
    assert losses.cross_entropy(logits, torch.zeros(5, dtype=torch.int64)).shape == (2, 5)
    with pytest.raises(TypeCheckError, match="images"):
        losses.cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(TypeCheckError, match="Float"):
        losses.cross_entropy(logits.long(), torch.zeros(5, dtype=torch.int64))
