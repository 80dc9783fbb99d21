"""What people give to the public door: taken in every form that means one thing, refused in a sentence otherwise."""

import warnings

import numpy as np
import pytest
import torch

from certflow import SmoothedClassifier
from certflow.noise import Gaussian
from certflow.sampling.arguments import (
    as_tensor,
    checked_alpha,
    checked_batch,
    checked_draws,
    checked_images,
    warn_of_scale,
)
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.images import check_images
from certflow.stats.limits import LARGEST_N

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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([torch.rand(3, 8, 8), torch.rand(3, 8, 9)], "images must be of one shape"),
        ([IMAGES[0], IMAGES[0, :, :4]], "images must be of one shape"),
        ([[[[0.5, 0.5]], [[0.5]]]], "images must be of one shape"),
        (IMAGES[:, :0], r"images must have pixels, got shape \[2, 0, 8, 8\]"),
        (torch.rand(2, 3, 8, 8).to(torch.float8_e4m3fn), "16 bits or more, got torch.float8_e4m3fn"),
        ((IMAGES * 255).astype(np.int64), "got torch.int64; make whole numbers from 0 to 255 uint8"),
        (torch.rand(2, 3, 8, 8).to_sparse(), "dense tensor that holds values"),
        (torch.empty(2, 3, 8, 8, device="meta"), "dense tensor that holds values"),
        (np.ma.masked_array(IMAGES, IMAGES > 0.5), "a masked array has pixels without a value"),
        (IMAGES.astype(np.longdouble), "of at most 64 bits"),
        (IMAGES.astype(np.complex64), "images must be numbers"),
        (3, "images must have shape"),
    ],
)
def test_what_is_not_one_plain_array_of_images_is_refused(images, message):
    with pytest.raises((ValueError, TypeError), match=message):
        certify(images)


@pytest.mark.filterwarnings("ignore")  # torch calls old what people still have
def test_quantised_images_are_refused():
    with pytest.raises(ValueError, match="images.dequantize"):
        certify(torch.quantize_per_tensor(torch.from_numpy(IMAGES), 0.1, 0, torch.quint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": None}, "noise: must be a noise such as"),
        ({"noise": "gaussian"}, "noise: must be a noise such as"),
        ({"noise": Gaussian}, "noise: must be a noise such as"),
        ({"inference": "bfloat16"}, "inference: must be such as"),
        ({"device": "gpu"}, "device: 'gpu' is not a device; write auto, cpu, cuda"),
        ({"device": "meta"}, "have no values"),
        ({"device": "cuda:99"}, "device: cuda:99 is not there"),
        ({"device": "mps" if not torch.backends.mps.is_available() else "xpu"}, "device: (mps|xpu) is not there"),
    ],
)
def test_settings_of_another_type_are_refused_before_anything_runs(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SmoothedClassifier(NET, **{"noise": Gaussian(sigma=0.25), **options})


@pytest.mark.parametrize(
    ("options", "setting"), [({"norm": "L2"}, "norm"), ({"norm": 2}, "norm"), ({"arithmetic": "exakt"}, "arithmetic")]
)
def test_words_that_a_setting_does_not_know_are_refused_in_one_line(options, setting):
    with pytest.raises(ValueError, match=f"^{setting}: Input should be '.*$") as caught:
        certify(**options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("rows", [0, -1, 1.5, "8", True, 2**40])
def test_a_batch_is_a_number_of_rows(rows):
    with pytest.raises(ValueError, match="batch size must be at least 1"):
        certify(batch_size=rows)
    assert checked_batch(2**20) == 2**20
    with pytest.raises(ValueError, match="at most 1,048,576"):
        checked_batch(2**20 + 1)


def test_what_are_no_images_is_refused():
    with pytest.raises(TypeError, match="images must be numbers in a tensor or an array"):
        certify(np.array(["a.png"]))


def test_a_sigma_for_pixels_to_255_is_pointed_out():
    with pytest.warns(UserWarning, match=r"pixels from 0 to 255, give sigma=64/255 = 0.251") as caught:
        certify(sigma=64)
    assert caught[0].filename == __file__, "the line is shown that gave it"


def test_the_edges_of_what_is_taken_for_a_number():
    assert (
        checked_draws("n", LARGEST_N) == 10**8 and checked_draws("n", 1) == 1 and checked_draws("n", np.uint8(7)) == 7
    )
    for value in (0, -1, 1.5, True, np.True_, "9", None, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="n must be a whole number of at least 1"):
            checked_draws("n", value)
    with pytest.raises(ValueError, match="at most 100,000,000"):
        checked_draws("n", 10**8 + 1)
    assert checked_alpha(0.499) == 0.499 and checked_alpha(np.float32(0.25)) == 0.25 and checked_alpha(1e-9) == 1e-9
    for value in (0, 0.5, 1, -0.1, 9.9e-10, True, "0.1", None, float("nan")):
        with pytest.raises(ValueError, match="alpha must be at least 1e-09 and below 0.5"):
            checked_alpha(value)


def test_only_what_must_have_its_channels_last_is_refused():
    for shape in [
        (1, 3, 3, 3),
        (2, 4, 9, 3),
        (2, 9, 4, 3),
        (2, 5, 5, 5),
        (2, 5, 6, 4),
        (2, 5, 5, 2),
        (2, 8, 9, 1),
        (2, 64, 9, 9),
    ]:
        assert checked_images(np.zeros(shape), None)[0].shape == shape
    for shape in [(2, 5, 5, 4), (2, 5, 5, 1), (2, 5, 9, 3), (2, 5, 5, 3)]:
        with pytest.raises(ValueError, match="channels"):
            checked_images(np.zeros(shape), None)
    with pytest.raises(ValueError, match=r"make images\[None\]"):
        checked_images(np.zeros((3, 8, 8)), None)
    for shape in [(8, 8), (1, 2, 3, 8, 8)]:
        with pytest.raises(ValueError, match=r"got \[[0-9, ]*\]$"):
            checked_images(np.zeros(shape), None)


def test_names_of_images_are_whole_numbers_one_for_each():
    assert checked_images(IMAGES, None)[1].tolist() == [0, 1] and checked_images(IMAGES, [7, 3])[1].tolist() == [7, 3]
    for indices in ([1], [1, 2, 3], [1.0, 2.0], [[1, 2]], 3):
        with pytest.raises(ValueError, match="indices must be 2 integers"):
            checked_images(IMAGES, indices)


def test_memory_that_torch_can_use_is_not_copied_and_other_memory_is():
    shared, read_only = IMAGES.copy(), IMAGES.copy()
    read_only.setflags(write=False)
    taken = as_tensor(shared)
    taken[0, 0, 0, 0] = 9
    assert shared[0, 0, 0, 0] == 9
    for array in (read_only, IMAGES[..., ::-1], IMAGES.astype(">f4")):
        taken = as_tensor(array)
        assert np.array_equal(taken.numpy(), array.astype("=f4"))
        taken += 1
        assert not np.array_equal(taken.numpy(), array)
    assert not as_tensor([torch.ones(2, requires_grad=True)]).requires_grad and as_tensor([]).shape == (0,)


def test_an_image_or_a_channel_made_of_a_new_axis_is_not_copied():
    """The steps of such an axis are 0, as those of an array that repeats itself are, but it can be written to."""
    grey = np.zeros((3, 4, 4), np.float32)
    for array in (grey[:, None], grey[None]):
        assert 0 in array.strides
        grey[...] = 0
        taken = as_tensor(array)
        grey[...] = 1
        assert bool((taken == 1).all())


@pytest.mark.parametrize(("sigma", "warns"), [(4.0, False), (4.01, True)])
def test_a_usual_sigma_is_not_commented_on(sigma, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_scale(Gaussian(sigma=sigma))
    assert bool(caught) == warns


def test_whole_numbers_that_look_like_truths_are_pointed_out():
    base = BaseClassifier(torch.nn.Flatten(), shape=(1, 2, 2), device="cpu")
    for largest, warns in ((0, False), (1, True), (2, False), (255, False)):
        images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
        images[1, 0, 0, 1] = largest
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_images(base, images, np.arange(2), exact=True)
            check_images(base, images.float() / 255, np.arange(2), exact=True)
            check_images(base, images[:0], np.arange(0), exact=True)
        assert [str(one.message)[:46] for one in caught] == ["all pixels of these uint8 images are 0 or 1 of"] * warns
