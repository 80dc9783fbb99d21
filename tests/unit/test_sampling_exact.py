"""Exact arithmetic in the engine: whole grey levels from image to network, one base classifier whatever the clean image."""

import numpy as np
import pytest
import torch

from certflow import SmoothedClassifier
from certflow.models.base import Inference
from certflow.models.normalise import Normalise
from certflow.noise import Gaussian, NoiseSpec
from certflow.noise.base import Key
from certflow.noise.streams import Stream
from certflow.sampling import engine
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.stats import clopper_pearson_lower

SHAPE = (3, 4, 4)
MEAN, SD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
NOISE = Gaussian(sigma=0.5)
DRAWS = [70, 0, 300, 1, 64, 129]
INDEX = [4, 9, 0, 7, 100_000, 2]


def network(normalised: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5)]
    return torch.nn.Sequential(*([Normalise(MEAN, SD)] if normalised else []), *layers)


def base(batch: int = 32, **options) -> BaseClassifier:
    inference = Inference(precision="float32", fold=False)
    return BaseClassifier(network(), inference, shape=SHAPE, batch=batch, **options)


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def counted(classifier, x, index=INDEX, draws=DRAWS, noise=NOISE, **options) -> np.ndarray:
    options = {"seed": 3, "stream": Stream.ESTIMATION, "arithmetic": "exact", "quiet": True} | options
    return count_classes(classifier, x, np.asarray(index), np.asarray(draws), noise=noise, **options).counts


def slowly(x) -> np.ndarray:
    """The definition, one draw at a time: whole levels, a division by 255, a plain forward pass, a Python counter."""
    model, counts = network().eval(), np.zeros((len(x), 5), np.int64)
    for slot, (image, position, n) in enumerate(zip(x, INDEX, DRAWS, strict=True)):
        for draw in range(n):
            t = NOISE.steps(
                SHAPE, Key(torch.tensor([position]), torch.tensor([draw]), seed=3, stream=Stream.ESTIMATION)
            )
            levels = torch.tensor(image.astype(np.int64)) + t.long()
            with torch.no_grad():
                counts[slot, int(model(levels.float() / torch.tensor(255.0)).argmax())] += 1
    return counts


def test_counts_are_those_of_the_definition():
    found = counted(base(), images())
    assert np.array_equal(found, slowly(images()))
    assert not np.array_equal(found, counted(base(), images(), arithmetic="float"))


@pytest.mark.parametrize("batch", [8, 13, 1000])
def test_counts_do_not_depend_on_the_batch_size(batch):
    assert np.array_equal(counted(base(batch), images()), counted(base(), images()))


def test_counts_do_not_depend_on_order_company_chunk_or_instalments(monkeypatch):
    whole = counted(base(), images())
    order = np.array([3, 5, 0, 2])
    some = counted(base(), images()[order], np.array(INDEX)[order], np.array(DRAWS)[order])
    assert np.array_equal(some, whole[order])
    monkeypatch.setattr(engine, "CHUNK_ROWS", 50)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    first = np.array(DRAWS) // 3
    parts = counted(base(), images(), draws=first) + counted(base(), images(), draws=DRAWS - first, start=first)
    assert np.array_equal(parts, whole)


def test_images_as_floats_on_the_grid_give_the_same_counts():
    assert np.array_equal(counted(base(), images().astype(np.float32) / 255), counted(base(), images()))


class Recorder(torch.nn.Module):
    """Keeps what the network is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return torch.zeros(len(x), 5)


def test_the_folded_network_sees_a_function_of_the_noisy_levels_alone():
    """The mean is subtracted from m / 255 after the noise is in m: equal levels give equal bits, whatever the clean image."""
    classifier = BaseClassifier(network(normalised=True), Inference(precision="float32"), shape=SHAPE, batch=64)
    assert classifier.shift is not None
    recorder = classifier.network = Recorder()
    x = images(2)
    counted(classifier, x, [5, 6], [64, 64])
    t = NOISE.steps(
        SHAPE, Key(torch.tensor([5] * 64 + [6] * 64), torch.arange(64).repeat(2), seed=3, stream=Stream.ESTIMATION)
    )
    levels = t.numpy().astype(np.int64) + np.repeat(x, 64, axis=0).astype(np.int64)
    mean = np.array(MEAN, np.float32)[:, None, None]
    expected = levels.astype(np.float32) / np.float32(255) - mean
    assert np.array_equal(torch.cat(recorder.seen).numpy(), expected)


def test_folding_does_not_change_the_counts():
    folded = BaseClassifier(network(normalised=True), Inference(precision="float32"), shape=SHAPE, batch=32)
    plain = BaseClassifier(network(normalised=True), Inference(precision="float32", fold=False), shape=SHAPE, batch=32)
    draws = [400] * 6
    difference = np.abs(counted(folded, images(), draws=draws) - counted(plain, images(), draws=draws)).sum()
    assert difference <= 2  # a row whose two largest logits are equal up to rounding


@pytest.mark.parametrize("change", [1.1e-4 / 255, 0.5 / 255])
def test_images_off_the_grid_are_refused_by_name(change):
    x = images().astype(np.float32) / 255
    x[2, 1, 3, 0] = 0.9e-4 / 255
    counted(base(), x)
    x[2, 1, 3, 0] = change
    with pytest.raises(
        ValueError, match="image 0: has pixels that are not multiples of 1/255; .* or use `arithmetic: float`"
    ):
        counted(base(), x)
    counted(base(), x, arithmetic="float")


class Other(NoiseSpec):
    kind: str = "other"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": Other(sigma=0.5)}, "noise of kind other has no exact form"),
        ({"noise": Gaussian(sigma=20.0)}, "up to sigma 14"),
        ({"parameter": np.ones(6)}, "no noise with a parameter"),
        ({"arithmetic": "grid"}, "arithmetic must be one of float, exact, got 'grid'"),
    ],
)
def test_what_exact_arithmetic_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        counted(base(), images(), **options)


class LastBit(torch.nn.Module):
    """Reads the clean image out of the last bit of x + noise in floating point.

    63/255 is an odd multiple of 2**-26, 64/255 a multiple of 2**-25. Where noise of (-0.5, -0.25), a multiple of 2**-25, takes
    such a pixel into (-0.25, 0) the sum is exact and keeps that bit. Class 1, unless some pixel's bit says 64.
    """

    def forward(self, x):
        z = x.flatten(1)[:, :100]
        marked = (z > -0.25) & (z < 63 / 255 - 0.25) & ((z * 2**26).remainder(2) == 0)
        found = marked.any(1).float()
        return torch.stack([found, 1 - found], 1)


def test_floating_point_noise_certifies_falsely_and_exact_noise_does_not():
    """Two images at distance 0.039: in floats each is certified up to 0.8, for different classes."""
    a = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    a.view(-1)[:100] = 63
    b = a.clone()
    b.view(-1)[:100] = 64
    apart = float(((a.float() - b.float()) / 255).norm())
    smoothed = SmoothedClassifier(LastBit(), Gaussian(sigma=0.25), inference=Inference(precision="float32"))
    found = {
        arithmetic: [smoothed.certify(x, n=10_000, arithmetic=arithmetic, quiet=True).iloc[0] for x in (a, b)]
        for arithmetic in ("float", "exact")
    }
    at_a, at_b = found["float"]
    assert apart == pytest.approx(0.0392, abs=1e-4) and at_a["radius"] > 0.79 > 20 * apart
    assert (at_a["predict"], at_b["predict"]) == (1, 0)  # one of the two certificates is false
    at_a, at_b = found["exact"]
    assert at_a["predict"] == at_b["predict"] or max(at_a["radius"], at_b["radius"]) <= apart


class HalfSpace(torch.nn.Module):
    """Class 1 where the sum of the pixels exceeds that of a grey image."""

    def forward(self, x):
        margin = x.flatten(1).sum(1, keepdim=True) - 48 * 128 / 255
        return torch.cat([-margin, margin], 1)


def test_a_half_space_is_certified_soundly_and_its_bounds_give_the_distance_away():
    levels = [128, 131, 136, 150]
    x = torch.stack([torch.full(SHAPE, level, dtype=torch.uint8) for level in levels])
    distance = (np.array(levels) - 128) / 255 * np.sqrt(48)
    smoothed = SmoothedClassifier(HalfSpace(), Gaussian(sigma=0.25))
    table = smoothed.certify(x, n=20_000, arithmetic="exact", quiet=True)
    assert (table["radius"] <= distance).all()
    assert table["predict"].tolist() == [-1, 1, 1, 1] and table["radius"][3] > 0.9 * min(distance[3], 0.85)
    bound = clopper_pearson_lower(table["k"].to_numpy(), 20_000, 0.001)
    slack = Gaussian(sigma=0.25).distance(48)
    assert (table["p_lower"] <= bound - slack).all()
    np.testing.assert_allclose(table["p_lower"], bound, rtol=1e-7)
    assert smoothed.predict(x[1:], n=2000, arithmetic="exact", quiet=True)["predict"].tolist() == [1, 1, 1]


def test_images_off_the_grid_are_rounded_where_that_is_asked_for_and_the_table_says_so():
    levels = np.full((3, *SHAPE), 136.0)
    levels[1, 0, 0, :2] += [0.25, -0.4]
    levels[2] += 5e-5  # so near the grid that it counts as 8-bit, and yet not on it
    x = torch.tensor(levels / 255)
    smoothed = SmoothedClassifier(HalfSpace(), Gaussian(sigma=0.25))
    options = {"n": 2000, "arithmetic": "exact", "quiet": True}
    with pytest.raises(ValueError, match="image 1: .* not multiples of 1/255; .*quantize_input=True"):
        smoothed.certify(x, **options)
    table = smoothed.certify(x, quantize_input=True, **options)
    plain = smoothed.certify(torch.full((3, *SHAPE), 136, dtype=torch.uint8), **options)
    assert table.attrs["certified_for"] == "the image rounded to 8 bits, and 8-bit images within the radius of it"
    assert plain.equals(table[plain.columns]) and "rounded_by" not in plain and "certified_for" not in plain.attrs
    moved = np.sqrt(0.25**2 + 0.4**2) / 255
    np.testing.assert_allclose(table["rounded_by"], [0, moved, 5e-5 * np.sqrt(48) / 255], rtol=1e-7, atol=1e-15)
    assert table["rounded_by"][1] > moved
    told = smoothed.predict(x, quantize_input=True, **options)
    assert told["predict"].tolist() == [1, 1, 1] and told.attrs == table.attrs and (told["radius"] == 0).all()
    classes, radii = smoothed.certify_arrays(x.float(), quantize_input=True, **options)
    assert (classes == 1).all() and (radii == plain["radius"]).all()


def test_a_ball_around_a_rounded_image_is_certified_for_8_bit_images_alone():
    """Pixels just below and just above the middle of two levels round apart, so that near images get different classes."""

    class Brightness(torch.nn.Module):
        def forward(self, x):
            margin = x.mean(dim=(1, 2, 3))[:, None] * 255 - 128.75
            return torch.cat([-margin, margin], 1)

    def asked(method, level):
        image = torch.full((1, 1, 32, 32), level / 255, dtype=torch.float64)
        return getattr(smoothed, method)(image, n=3000, arithmetic="exact", quantize_input=True, quiet=True).iloc[0]

    smoothed = SmoothedClassifier(Brightness(), Gaussian(sigma=0.08))
    given, near = asked("certify", 128.49), asked("predict", 128.51)
    assert given["predict"] == 0 and near["predict"] == 1
    assert (
        0.02 / 255 * 32 < given["radius"] - given["rounded_by"]
    )  # the images' distance: no ball of reals is certified
    brighter = torch.full((1, 1, 32, 32), 128, dtype=torch.uint8)
    brighter[..., :9] += 1
    assert 288**0.5 / 255 < given["radius"]  # of 8-bit images, one is
    assert smoothed.predict(brighter, n=3000, arithmetic="exact", quiet=True)["predict"].tolist() == [0]


def test_rounding_is_for_exact_arithmetic_and_for_images():
    smoothed = SmoothedClassifier(HalfSpace(), Gaussian(sigma=0.25))
    with pytest.raises(ValueError, match='quantize_input: rounds images for arithmetic="exact"'):
        smoothed.certify(torch.zeros(1, *SHAPE), quantize_input=True)
    for wrong, message in (
        (torch.full((1, *SHAPE), 1.001), r"outside \[0,1\]"),
        (torch.zeros(1, *SHAPE).long(), "uint8, or"),
    ):
        with pytest.raises(ValueError, match=message):
            smoothed.predict(wrong, arithmetic="exact", quantize_input=True)


def test_too_little_memory_means_smaller_batches_and_the_same_counts(capsys):
    classifier = base(64)
    inner = classifier.network

    class Hungry(torch.nn.Module):
        def forward(self, x):
            if len(x) > 20:
                raise torch.OutOfMemoryError
            return inner(x)

    classifier.network = Hungry()
    assert np.array_equal(counted(classifier, images()), counted(base(), images()))
    assert classifier.batch == 16 and "batches of 16" in capsys.readouterr().err
