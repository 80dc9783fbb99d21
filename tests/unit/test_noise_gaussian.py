"""Gaussian noise: its parameter, scale, shape and dtype."""

import math

import pytest
import torch
from pydantic import ValidationError

from certflow.noise import Gaussian, noise, philox
from certflow.noise.base import Key

COUNTERS = (torch.tensor([3, 4]), torch.tensor([0, 1]))


def test_values_are_sigma_times_the_standard_normals():
    values = Gaussian(sigma=0.25).sample((3, 5, 7), Key(*COUNTERS, seed=9, stream=1))
    assert values.shape == (2, 3, 5, 7) and values.dtype == torch.float32
    standard = philox.normals(105, Key(*COUNTERS, seed=9, stream=1))
    assert torch.equal(values, standard.view(2, 3, 5, 7) * 0.25)


@pytest.mark.parametrize("sigma", [0, -0.5, math.nan, math.inf, "0.25", None])
def test_impossible_scales_are_refused(sigma):
    with pytest.raises(ValidationError, match="sigma"):
        Gaussian(sigma=sigma)


def test_the_kind_is_found_by_name():
    assert noise("gaussian", sigma=1) == Gaussian(sigma=1.0)
    assert Gaussian(sigma=0.5).canonical() == {"revision": 1, "kind": "gaussian", "sigma": 0.5}
