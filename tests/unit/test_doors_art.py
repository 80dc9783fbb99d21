"""ART's class on this engine: its arguments, its shapes, and radii that are sound and tight in the units of the images."""

import numpy as np
import pytest
import torch
from scipy import special
from test_certify_smoothed import HalfSpace, at_distances

from certflow.doors.art import PyTorchRandomizedSmoothing
from certflow.stats import clopper_pearson_lower

DISTANCES = np.array([-0.3, 0.0, 0.1, 0.2, 0.4])
IMAGES = at_distances(DISTANCES).numpy()


def plane() -> HalfSpace:
    return HalfSpace(offset=float(HalfSpace().w.detach().sum() / 2))


class On255(torch.nn.Module):
    """The same plane for pixels from 0 to 255."""

    def __init__(self):
        super().__init__()
        self.inner = plane()

    def forward(self, x):
        return self.inner(x / 255)


def smoothed(model=None, **options) -> PyTorchRandomizedSmoothing:
    options = {"nb_classes": 2, "sample_size": 100, "scale": 0.25, "input_shape": (1, 4, 4), **options}
    return PyTorchRandomizedSmoothing(model or plane(), torch.nn.CrossEntropyLoss(), **options)


def test_predictions_are_rows_of_one_one_or_of_zeros():
    found = smoothed().predict(IMAGES)
    assert found.dtype == np.float64 and found.tolist() == [[1, 0], *[[0, 0]] * 2, *[[0, 1]] * 2]
    forced = smoothed().predict(IMAGES, is_abstain=False)
    assert forced.sum(axis=1).tolist() == [1] * 5 and np.array_equal(forced[3:], found[3:])


def test_radii_are_sound_and_tight():
    classes, radii = smoothed().certify(IMAGES, n=20_000)
    assert classes.tolist() == [0, -1, 1, 1, 1] and radii[1] == 0
    assert (radii <= np.abs(DISTANCES)).all() and (radii[[0, 2, 3, 4]] > 0.6 * np.abs(DISTANCES)[[0, 2, 3, 4]]).all()
    best = 0.25 * special.ndtri(clopper_pearson_lower(20_000, 20_000, 0.001))
    assert (radii <= best).all()


def test_another_range_is_only_another_unit():
    wanted = smoothed().certify(IMAGES, n=1000)
    model = smoothed(On255(), clip_values=(0, 255), scale=0.25 * 255)
    classes, radii = model.certify(IMAGES * 255, n=1000)
    assert classes.tolist() == wanted[0].tolist()
    np.testing.assert_allclose(radii, wanted[1] * 255, rtol=1e-9)


@pytest.mark.parametrize(
    ("mean", "sd"), [(0.1307, 0.3081), (0.485, 0.229), (0.4822, 0.1994), (0.4465, 0.2010), (0.286, 0.353)]
)
def test_normalised_images_fit_the_range_that_their_rounding_left_them(mean, sd):
    """float32 pixels of 0 and 1 lie beyond ends that were computed in float64, by a rounding."""
    pixels = torch.tensor([0.0, 1.0, 0.5, 1 / 255]).repeat(4).view(1, 1, 4, 4)
    images = ((pixels - mean) / sd).numpy()
    model = smoothed(clip_values=((0 - mean) / sd, (1 - mean) / sd), scale=0.25 / sd)
    scaled = model._scaled(images)
    assert scaled.min() == 0 and scaled.max() <= 1 and scaled == pytest.approx(pixels.numpy(), abs=1e-6)
    model.certify(images, n=100)
    with pytest.raises(ValueError, match="outside"):
        model.certify(images - 1e-4, n=100)


def test_preprocessing_comes_after_the_noise():
    class Centred(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = plane()

        def forward(self, x):
            return self.inner(x * 0.5 + 0.25)

    wanted = smoothed().certify(IMAGES, n=1000)
    assert smoothed(preprocessing=None).certify(IMAGES, n=1000)[1].tolist() == wanted[1].tolist()
    found = smoothed(Centred(), preprocessing=(0.25, 0.5)).certify(IMAGES, n=1000)
    assert found[0].tolist() == wanted[0].tolist()
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels_first": False}, "channels_first"),
        ({"clip_values": (np.zeros(3), np.ones(3))}, "one range for all pixels"),
        ({"clip_values": (1, 0)}, "must rise"),
        ({"preprocessing_defences": [1]}, "put it into the model"),
        ({"preprocessing": (0.0, 0.0)}, "above 0"),
        ({"scale": 0.0}, "sigma"),
    ],
)
def test_what_cannot_be_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        smoothed(**options)
