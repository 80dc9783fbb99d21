"""How far images are from the 8-bit ones that they are rounded to, against rational arithmetic."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
import torch

from certflow.sampling.quantizing import quantized


def squared(image: torch.Tensor) -> Fraction:
    """The squared distance as a fraction; no pixel may lie exactly between two levels."""
    pixels = [Fraction(value) for value in image.double().flatten().tolist()]
    return sum((x - Fraction(round(x * 255), 255)) ** 2 for x in pixels)


def examples() -> dict[str, torch.Tensor]:
    random = np.random.default_rng(0)
    levels = torch.from_numpy(random.integers(0, 256, (1, 3, 4, 4)))
    noise = torch.from_numpy(random.uniform(-1, 1, (1, 3, 4, 4)))
    tiny = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    tiny[..., 1] = 1e-300  # whose square is no float64
    within = ((levels + 9e-5 * noise) / 255).clamp(0, 1)
    return {
        "any": torch.from_numpy(random.uniform(0, 1, (1, 3, 4, 4))),
        "nearly 8-bit": within,
        "nearly 8-bit, float32": within.float(),
        "8-bit as float64": levels.double() / 255,
        "8-bit as float32": levels.float() / 255,
        "8-bit as float16": (levels / 255).half(),
        "one step of float64 away": torch.full((1, 1, 1, 1), float(np.nextafter(0.2, 1)), dtype=torch.float64),
        "tiny": tiny,
    }


@pytest.mark.parametrize("name", examples())
def test_the_distance_is_rounded_up_and_by_next_to_nothing(name):
    image = examples()[name]
    rounded, distance = quantized(image, np.array([0]))
    assert rounded.dtype == torch.uint8 and torch.equal(rounded.double(), (image.double() * 255).round())
    true, found = squared(image), Fraction(float(distance[0]))
    assert true > 0 and found**2 >= true
    if name != "tiny":
        scale = 10**60
        assert found * scale <= Fraction(isqrt(int(true * scale**2))) * Fraction(1 + 3e-9)


def test_images_on_the_grid_are_not_moved():
    corners = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)  # of the levels, floats hold these two exactly
    assert quantized(corners, np.arange(2))[1].tolist() == [0.0, 0.0]
    rounded, distance = quantized(torch.arange(256).to(torch.uint8).reshape(256, 1, 1, 1), np.arange(256))
    assert rounded.flatten().tolist() == list(range(256)) and not distance.any()
