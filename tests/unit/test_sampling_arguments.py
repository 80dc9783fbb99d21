"""What people give to the public door: taken in every form that means one thing, refused in a sentence otherwise."""

import numpy as np
import pytest
import torch

from certflow import SmoothedClassifier
from certflow.noise import Gaussian

torch.manual_seed(0)
NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
IMAGES = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)


def certify(images=IMAGES, net=NET, sigma=0.25, **options):
    return SmoothedClassifier(net, Gaussian(sigma=sigma)).certify(images, **{"n": 100, "quiet": True, **options})


@pytest.mark.parametrize(
    "options",
    [{"alpha": np.float32(0.001)}, {"alpha": np.float64(0.001)}, {"n": 1e2}, {"n": np.int32(100)}, {"n0": 1e2}],
)
def test_numbers_of_any_type(options):
    assert certify(**options)["k"].equals(certify()["k"])


@pytest.mark.parametrize(
    "images",
    [
        IMAGES[:, :, :, ::-1][:, :, :, ::-1],
        np.ascontiguousarray(IMAGES[:, :, :, ::-1])[..., ::-1],
        IMAGES.astype(">f4"),
        np.asfortranarray(IMAGES),
        list(IMAGES),
        list(torch.from_numpy(IMAGES)),
        torch.from_numpy(IMAGES).requires_grad_(),
    ],
)
def test_images_in_any_memory(images):
    assert certify(images).equals(certify())


def test_columns_are_no_attributes_of_the_table_itself():
    table = certify(indices=torch.tensor([7, 9]))
    assert table.idx.tolist() == [7, 9]
    for name in table.columns:
        assert getattr(table, name) is table[name] or getattr(table, name).equals(table[name])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            IMAGES.transpose(0, 2, 3, 1),
            r"looks like \[images, height, width, channels\]; give images.transpose\(0, 3, 1, 2\)",
        ),
        (np.zeros((2, 28, 28, 1), np.float32), "looks like"),
        (np.zeros((2, 32, 40, 3), np.uint8), "looks like"),
        (IMAGES[0], r"of one image make images\[None\]"),
        (IMAGES * 255, "divide pixels from 0 to 255 by 255"),
    ],
)
def test_images_laid_out_otherwise_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        certify(images)


def test_what_are_no_images_is_refused():
    with pytest.raises(TypeError, match="images must be numbers in a tensor or an array"):
        certify(np.array(["a.png"]))


def test_a_sigma_for_pixels_to_255_is_pointed_out():
    with pytest.warns(UserWarning, match=r"if it is meant for pixels from 0 to 255, give sigma=64/255 = 0.251"):
        certify(sigma=64)
