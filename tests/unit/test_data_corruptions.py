"""Corrupted copies: the laws of the computed ones, the published file layouts, numbering, and what is refused."""

import colorsys
import shutil

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from training_examples import Images as ArrayImages

from certflow.data.base import DataInfo
from certflow.data.corruptions.computing import (
    CORRUPTIONS,
    bytes_of,
    corrupt,
    gaussian_noise,
    impulse_noise,
    shot_noise,
)
from certflow.data.corruptions.store import Corrupted, prepare_corrupted, same_corruption
from certflow.data.source import cache_root
from certflow.data.store import open_split, prepare
from certflow.data.subset import Images
from certflow.errors import ArtefactError, DataError
from certflow.kinds.registry import spec_class

DIGITS = spec_class("dataset", "digits")()
RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (3, 16, 16)).astype(np.uint8)
LEVEL = 1e-6


def random(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_copy_is_an_image_and_a_function_of_its_number(name, channels):
    image = COLOURED[:channels]
    copies = {(s, i): corrupt(image, name, s, i) for s in (1, 5) for i in (0, 7)}
    assert all(copy.shape == image.shape and copy.dtype == np.uint8 for copy in copies.values())
    assert all(np.array_equal(corrupt(image, name, s, i), copy) for (s, i), copy in copies.items())
    noisy = name.endswith("noise")
    assert np.array_equal(copies[5, 0], copies[5, 7]) != noisy
    assert not np.array_equal(copies[1, 0], copies[5, 0])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow(name):
    smooth = np.clip(np.add.outer(np.arange(32), np.arange(32)) * 3 + RNG.integers(0, 40, (3, 32, 32)), 0, 255)
    image = smooth.astype(np.uint8)
    distance = [np.square(corrupt(image, name, s, 0) / 255 - image / 255).sum() for s in range(1, 6)]
    assert all(a < b for a, b in zip(distance[:-1], distance[1:], strict=True)), distance


def test_gaussian_noise_has_its_law():
    grey, sd = 128, 0.1
    found = gaussian_noise(np.full((1, 200, 200), grey, np.uint8), sd, random())
    cells = np.arange(60, 200, 10)
    inner = stats.norm.cdf((cells / 255 - grey / 255) / sd)
    expected = np.diff([0, *inner, 1]) * found.size
    observed = np.histogram(found, [-1, *cells - 0.5, 256])[0]
    assert stats.chisquare(observed, expected).pvalue > LEVEL


def test_shot_noise_is_poisson():
    # 51 photons: k photons are byte 5k exactly, and more than 51 are cut off with negligible probability at this grey level.
    image = np.full((1, 60, 60), 51, np.uint8)
    photons = shot_noise(image, 51.0, random()).astype(np.int64)
    assert (photons % 5 == 0).all()
    total = int(photons.sum() // 5)
    law = stats.poisson(image.size * 51 / 255 * 51)
    assert min(law.cdf(total), law.sf(total - 1)) > LEVEL
    assert np.var(photons / 5) == pytest.approx(10.2, rel=0.15)


def test_impulse_noise_hits_its_share_half_of_it_white():
    found = impulse_noise(np.full((3, 100, 100), 128, np.uint8), 0.05, random())
    hit = found != 128
    assert set(np.unique(found)) == {0, 128, 255}
    assert stats.binomtest(int(hit.sum()), found.size, 0.05).pvalue > LEVEL
    assert stats.binomtest(int((found == 255).sum()), int(hit.sum()), 0.5).pvalue > LEVEL


def test_brightness_shifts_the_value_of_hsv():
    for s, shift in enumerate(CORRUPTIONS["brightness"][1], start=1):
        found = corrupt(COLOURED, "brightness", s, 0)
        for row, column in np.ndindex(16, 16):
            hue, saturation, value = colorsys.rgb_to_hsv(*(COLOURED[:, row, column] / 255))
            wanted = colorsys.hsv_to_rgb(hue, saturation, min(value + shift, 1))
            assert np.abs(found[:, row, column] - np.floor(np.array(wanted) * 255 + 1e-6)).max() <= 1
    black = np.zeros((3, 4, 4), np.uint8)
    assert (corrupt(black, "brightness", 5, 0) == np.floor(255 * 0.3)).all()


def test_contrast_shrinks_deviations_from_the_mean():
    found = corrupt(COLOURED, "contrast", 5, 0)
    for plane, image in zip(found, COLOURED / 255, strict=True):
        wanted = np.array([[0.15 * (x - image.mean()) + image.mean() for x in row] for row in image])
        assert np.abs(plane - wanted * 255 + 0.5).max() <= 0.5 + 1e-6


def test_blur_is_a_convolution_with_a_truncated_gaussian():
    image, sd = COLOURED[0], 1.0
    reach = np.arange(-4, 5)
    weight = np.exp(-(reach**2) / (2 * sd**2))
    weight /= weight.sum()
    padded = np.pad(image / 255, 4, mode="edge")
    wanted = np.zeros((16, 16))
    for i, j in np.ndindex(16, 16):
        wanted[i, j] = weight @ padded[i : i + 9, j : j + 9] @ weight
    assert np.abs(corrupt(COLOURED, "gaussian_blur", 5, 0)[0].astype(int) - bytes_of(wanted).astype(int)).max() <= 1


def test_bytes_are_cut_off_and_clipped():
    assert bytes_of(np.array([-0.2, 0.0, 0.9999 / 255, 1 / 255, 3 * (1 / 255), 0.5, 1.0, 7.0])).tolist() == [
        0,
        0,
        0,
        1,
        3,
        127,
        255,
        255,
    ]
    assert np.array_equal(bytes_of(np.arange(256) / 255), np.arange(256))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("computed", {"names": ["rain"]}, "has no corruption 'rain'; known: brightness"),
        ("computed", {"names": []}, "at least one"),
        ("computed", {"names": ["contrast", "contrast"]}, "none twice"),
        ("computed", {"severities": [2, 1]}, "ascending"),
        ("cifar_c", {"severities": [0]}, "some of 1 to 5"),
        ("mnist_c", {"severities": [1]}, "severities"),
        ("computed", {"root": "x"}, "no root"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, fields, message):
    with pytest.raises(ValidationError, match=message):
        spec_class("corruption", kind)(**fields)


def write_mnist_c(root, pixels, labels, name="fog"):
    (root / name).mkdir(parents=True, exist_ok=True)
    np.save(root / name / "test_images.npy", pixels)
    np.save(root / name / "test_labels.npy", labels)


def test_mnist_c_is_read_as_published(tmp_path):
    clean = ArrayImages(RNG.integers(0, 256, (20, 1, 28, 28)).astype(np.uint8), np.arange(20) % 10)
    fog = RNG.integers(0, 256, (20, 28, 28, 1)).astype(np.uint8)
    write_mnist_c(tmp_path, fog, np.arange(20) % 10)
    spec, info = spec_class("corruption", "mnist_c")(root=str(tmp_path)), DataInfo(10, (1, 28, 28))
    pixels, files = spec.read("fog", clean, info)
    assert all(np.array_equal(pixels[i, 0], fog[i, :, :, 0]) for i in range(20))
    assert [file.path for file in files] == ["fog/test_images.npy", "fog/test_labels.npy"]
    write_mnist_c(tmp_path, fog, (np.arange(20) + (np.arange(20) == 4)) % 10, "stripe")
    with pytest.raises(DataError, match="label of row 4 differs"):
        spec.read("stripe", clean, info)
    write_mnist_c(tmp_path, fog[:19], np.arange(20) % 10, "shear")
    with pytest.raises(
        DataError, match=r"holds uint8 \[19, 28, 28, 1\], expected whole numbers \[20, 28, 28, 1\]; get the file again"
    ):
        spec.read("shear", clean, info)
    write_mnist_c(tmp_path, fog / 255, np.arange(20) % 10, "rotate")
    with pytest.raises(DataError, match="holds float64"):
        spec.read("rotate", clean, info)
    with pytest.raises(DataError, match=r"zigzag/test_labels\.npy: not found"):
        spec.read("zigzag", clean, info)
    np.save(tmp_path / "fog" / "test_images.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an intact .npy file of numbers"):
        spec.read("fog", clean, info)


def test_cifar_c_rows_are_severities_of_all_images(tmp_path):
    clean = ArrayImages(np.zeros((6, 3, 32, 32)), np.arange(6))
    snow = RNG.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "snow.npy", snow)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(6, dtype=np.uint8), 5))
    spec = spec_class("corruption", "cifar_c")(root=str(tmp_path), severities=[2, 5])
    pixels, _ = spec.read("snow", clean, DataInfo(10, (3, 32, 32)))
    assert pixels.shape == (12, 3, 32, 32)
    for place, severity in enumerate((2, 5)):
        for i in range(6):
            assert np.array_equal(pixels[place * 6 + i], snow[6 * (severity - 1) + i].transpose(2, 0, 1))
    np.save(tmp_path / "labels.npy", np.tile(np.arange(6, dtype=np.uint8), 4))
    with pytest.raises(DataError, match="24 labels for 30 images"):
        spec.read("snow", clean, DataInfo(10, (3, 32, 32)))


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Digits prepared in a cache of their own, with copies of low contrast at severities 2 and 4."""
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    prepare(DIGITS, tmp_path / "digits.json")
    spec = spec_class("corruption", "computed")(severities=[2, 4], names=["contrast"])
    manifest = tmp_path / "contrast.json"
    prepare_corrupted(spec, "contrast", DIGITS, clean_manifest=tmp_path / "digits.json", manifest=manifest)
    return tmp_path, Corrupted(spec, "contrast", manifest)


def test_copies_are_numbered_by_severity_and_test_image(prepared):
    folder, corrupted = prepared
    copies, content = corrupted.open(DIGITS, folder / "digits.json")
    clean = open_split(DIGITS, folder / "digits.json", "test")
    n = len(clean)
    index = copies.indices(Images(stride=100))
    assert index.tolist() == [n * (s - 1) + i for s in (2, 4) for i in range(0, n, 100)]
    assert np.array_equal(copies.labels[index], np.tile(clean.labels[::100], 2))
    for number, pixels in zip(index.tolist(), copies.read(index), strict=True):
        severity, i = number // n + 1, number % n
        assert np.array_equal(pixels, corrupt(clean.read(np.array([i]))[0], "contrast", severity, i))
    assert copies.describe(3 * n + 5) == "contrast at severity 4 of test image 5"
    with pytest.raises(IndexError, match="severity 3 was not prepared"):
        copies.read(np.array([2 * n]))
    assert len(content) == 64


def test_a_lost_cache_is_rebuilt_and_foreign_copies_are_refused(prepared):
    folder, corrupted = prepared
    first = corrupted.open(DIGITS, folder / "digits.json")[0].read(np.array([500]))
    shutil.rmtree(cache_root())
    assert np.array_equal(corrupted.open(DIGITS, folder / "digits.json")[0].read(np.array([500])), first)
    stronger = spec_class("corruption", "computed")(severities=[2, 5])
    with pytest.raises(ArtefactError, match=r"corruption\.severities: file has \[2, 4\], asked for \[2, 5\]"):
        Corrupted(stronger, "contrast", corrupted.manifest).open(DIGITS, folder / "digits.json")
    with pytest.raises(ArtefactError, match="is missing; prepare"):
        Corrupted(corrupted.spec, "contrast", folder / "none.json").open(DIGITS, folder / "digits.json")


def test_a_specification_tells_clean_images_from_copies(prepared):
    _, corrupted = prepared
    images = {"split": "test", "corruption": corrupted.spec.of("contrast")}
    assert same_corruption(images, corrupted) and not same_corruption(images, None)
    assert same_corruption({"split": "test"}, None) and not same_corruption({"split": "test"}, corrupted)
