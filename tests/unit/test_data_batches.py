"""Batches: each image once, the same treatment whatever the batch size, the field's law of crops and flips."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest, chisquare

from certflow.data.augmentation import crop_flip, crop_flip_draws, pad, permutation, resized_crop_words, to_unit
from certflow.data.batches import MemoryBatches, batches
from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.pixels import CROP_WORDS
from certflow.data.splits import ArraySplit
from certflow.data.streaming import StreamBatches
from certflow.errors import DataError
from certflow.noise.base import Key
from certflow.noise.philox import words
from certflow.noise.streams import Stream

FALSE_ALARM = 1e-6
N = 37


def split(n: int = N, shape=(3, 10, 7)) -> ArraySplit:
    rng = np.random.default_rng(1)
    return ArraySplit(rng.integers(0, 256, (n, *shape), dtype=np.uint8), rng.integers(0, 5, n), "random")


@pytest.fixture
def stream(tmp_path) -> tuple[object, np.ndarray]:
    """A streaming split of 7 photographs of different sizes, and its evaluation pixels."""
    rng = np.random.default_rng(2)
    for name in ("train", "test"):
        for i in range(7):
            path = tmp_path / name / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            coarse.resize((20 + 3 * i, 30 - i), Image.Resampling.BICUBIC).save(path)
    spec = ImageFolder(classes=2, shape=[3, 12, 10], resize="shorter_side_crop", stream=True)
    tree = spec.read("train", tmp_path)
    return tree, tree.read(np.arange(7))


def make(source, batch=8, seed=3, augmentation="none", shuffle=True, **options):
    return batches(source, device="cpu", batch=batch, seed=seed, augmentation=augmentation, shuffle=shuffle, **options)


def by_image(loader, epoch: int = 0) -> dict[int, tuple[torch.Tensor, int]]:
    """Image index → (pixels, label) of one epoch, after checking that no image comes twice."""
    found = {}
    for index, x, y in loader.epoch(epoch):
        for i, pixels, label in zip(index.tolist(), x, y.tolist(), strict=True):
            assert i not in found
            found[i] = (pixels, label)
    return found


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_bytes_become_the_correctly_rounded_quotient():
    found = to_unit(torch.arange(256, dtype=torch.uint8))
    assert found.dtype == torch.float32
    for byte, value in enumerate(found.tolist()):
        neighbours = [np.nextafter(np.float32(value), np.float32(side)) for side in (-1, 2)]
        error = abs(Fraction(value) - Fraction(byte, 255))
        assert all(error <= abs(Fraction(float(other)) - Fraction(byte, 255)) for other in neighbours)


def slow_crop_flip(image: np.ndarray, row: int, column: int, flip: bool) -> np.ndarray:
    """One image, one pixel after another."""
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                k = width - 1 - j if flip else j
                y, x = i + row - 4, k + column - 4
                if 0 <= y < height and 0 <= x < width:
                    out[c, i, j] = image[c, y, x]
    return out


def test_a_crop_is_that_of_a_slow_loop():
    images = split(30).images
    rng = np.random.default_rng(4)
    row, column, flip = rng.integers(0, 9, 30), rng.integers(0, 9, 30), rng.random(30) < 0.5
    row[:4], column[:4] = [0, 8, 0, 8], [0, 8, 8, 0]
    found = crop_flip(pad(torch.from_numpy(images)), *map(torch.from_numpy, (row, column, flip)))
    for image, got, *draws in zip(images, found.numpy(), row, column, flip, strict=True):
        assert np.array_equal(got, slow_crop_flip(image, *draws))


# --- every image once, and always the same ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 8, N, N + 5])
@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_every_image_comes_once_per_epoch(batch, augmentation):
    source = split()
    loader = make(source, batch, augmentation=augmentation)
    sizes = [len(index) for index, _, _ in loader.epoch(0)]
    assert len(sizes) == len(loader) == -(-N // batch)
    assert sizes == [batch] * (N // batch) + [N % batch] * (N % batch > 0)
    found = by_image(loader, epoch=1)
    assert sorted(found) == list(range(N))
    assert all(label == source.labels[i] for i, (_, label) in found.items())


def test_without_augmentation_the_pixels_are_the_splits():
    source = split()
    for i, (pixels, _) in by_image(make(source)).items():
        assert pixels.dtype == torch.float32
        assert np.array_equal(pixels.numpy(), source.images[i].astype(np.float32) / np.float32(255))


def test_unshuffled_batches_keep_the_order_of_the_split():
    order = torch.cat([index for index, _, _ in make(split(), shuffle=False).epoch(5)])
    assert torch.equal(order, torch.arange(N))


@pytest.mark.parametrize("batch", [1, 5, N])
def test_the_batch_size_changes_neither_order_nor_augmentation(batch):
    source = split()
    reference, other = make(source, 8, augmentation="crop_flip"), make(source, batch, augmentation="crop_flip")
    for epoch in (0, 3):
        orders = [torch.cat([index for index, _, _ in loader.epoch(epoch)]) for loader in (reference, other)]
        assert torch.equal(*orders)
        pixels = [torch.cat([x for _, x, _ in loader.epoch(epoch)]) for loader in (reference, other)]
        assert torch.equal(*pixels)


def test_augmentation_is_the_slow_loop_with_the_draws_of_seed_epoch_and_image():
    source = split()
    for seed, epoch in ((3, 0), (3, 7), (2**63 + 5, 7)):
        found = by_image(make(source, seed=seed, augmentation="crop_flip"), epoch)
        for i, (pixels, _) in found.items():
            key = Key.of(torch.tensor([i]), epoch, seed=seed, stream=Stream.TRAIN_AUGMENTATION)
            w = words(4, key).flatten().tolist()
            wanted = slow_crop_flip(source.images[i], w[0] * 9 // 2**32, w[1] * 9 // 2**32, w[2] // 2**31 == 1)
            assert torch.equal(pixels, to_unit(torch.from_numpy(wanted)))


def test_epochs_and_seeds_differ_and_repeat():
    source = split()

    def epoch_of(seed, epoch):
        return [
            torch.cat(parts)
            for parts in zip(*make(source, seed=seed, augmentation="crop_flip").epoch(epoch), strict=True)
        ]

    first = epoch_of(3, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, epoch_of(3, 0), strict=True))
    for other in (epoch_of(3, 1), epoch_of(4, 0), epoch_of(3 + 2**32, 0)):
        assert not torch.equal(first[0], other[0])
        assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("first", [0, 2, 4, 5])
def test_an_epoch_can_be_taken_up_at_any_batch(first):
    loader = make(split(), augmentation="crop_flip")
    whole, rest = list(loader.epoch(2)), list(loader.epoch(2, first))
    assert len(rest) == len(loader) - first
    for a, b in zip(whole[first:], rest, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_batches_leave_the_global_generator_alone(stream):
    state = torch.get_rng_state()
    for source in (split(), stream[0]):
        list(make(source, augmentation="crop_flip").epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_crop_offsets_and_flips_follow_the_fields_law():
    """Uniform on the 9 × 9 offsets, flip with ½, all independent: one chi-square over the 162 joint outcomes."""
    n = 81_000
    row, column, flip = crop_flip_draws(torch.arange(n), seed=17, epoch=4)
    for offsets in (row, column):
        assert offsets.min() == 0 and offsets.max() == 8
    joint = torch.bincount((row * 9 + column) * 2 + flip.long(), minlength=162)
    assert chisquare(joint.numpy()).pvalue > FALSE_ALARM


@pytest.mark.statistical
def test_draws_of_successive_epochs_and_of_neighbouring_images_are_independent():
    image = torch.arange(40_500)
    now, then = (crop_flip_draws(image, seed=17, epoch=e) for e in (4, 5))
    for a, b in ((now[0], then[0]), (now[1], then[1]), (now[0][1:], now[0][:-1])):
        assert chisquare(torch.bincount(a * 9 + b, minlength=81).numpy()).pvalue > FALSE_ALARM / 4
    assert binomtest(int((now[2] == then[2]).sum()), len(image)).pvalue > FALSE_ALARM / 4


@pytest.mark.statistical
def test_permutations_are_uniform():
    """All 24 orders of four images over 720 epochs."""
    codes = [int("".join(map(str, permutation(4, seed=9, epoch=e).tolist()))) for e in range(720)]
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("total", [1, 2, 1000])
def test_a_permutation_holds_every_image_once(total):
    found = permutation(total, seed=0, epoch=0)
    assert torch.equal(found.sort().values, torch.arange(total))


# --- streaming splits -------------------------------------------------------------------------------------------------


def test_a_streaming_split_gives_its_evaluation_pixels(stream):
    tree, pixels = stream
    loader = make(tree, 3, workers=0)
    assert isinstance(loader, StreamBatches) and len(loader) == 3
    found = by_image(loader)
    assert sorted(found) == list(range(7))
    for i, (x, label) in found.items():
        assert torch.equal(x, to_unit(torch.from_numpy(pixels[i]))) and label == tree.labels[i]


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_streamed_and_resident_batches_are_equal(stream, augmentation):
    tree, pixels = stream
    resident = make(ArraySplit(pixels, tree.labels, "resident"), 3, augmentation=augmentation)
    assert isinstance(resident, MemoryBatches)
    for a, b in zip(make(tree, 3, augmentation=augmentation, workers=0).epoch(2), resident.epoch(2), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker:UserWarning")  # where there is one core
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_random_crops_depend_on_seed_epoch_and_image_alone(stream, workers, batch):
    tree, _ = stream
    loader = make(tree, batch, augmentation="resized_crop_flip", workers=workers)
    found = by_image(loader, epoch=5)
    for i, (x, _) in found.items():
        w = resized_crop_words(torch.tensor([i]), count=CROP_WORDS, seed=3, epoch=5)[0].numpy()
        assert torch.equal(x, to_unit(torch.from_numpy(tree.crop(i, w).copy())))
    rest = list(loader.epoch(5, first=1))
    assert torch.equal(torch.cat([x for _, x, _ in rest]), torch.cat([x for _, x, _ in loader.epoch(5)])[batch:])


def test_random_crops_differ_between_epochs(stream):
    loader = make(stream[0], augmentation="resized_crop_flip", workers=0)
    first, second = by_image(loader, 0), by_image(loader, 1)
    assert sum(torch.equal(first[i][0], second[i][0]) for i in range(7)) == 0


@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "resized_crop_flip"])
@pytest.mark.parametrize("resident", [False, True])
def test_processes_that_share_batches_make_each_image_once_as_one_process_makes_it(stream, augmentation, resident):
    tree, pixels = stream
    if resident and augmentation == "resized_crop_flip":
        pytest.skip("needs a streaming split")
    source = ArraySplit(pixels, tree.labels, "resident") if resident else tree
    options = {"augmentation": augmentation, **({} if resident else {"workers": 0})}

    def rows(rank):
        return lambda images: torch.arange(images)[images * rank // 2 : images * (rank + 1) // 2]

    whole = list(make(source, 3, **options).epoch(1))
    shares = [list(make(source, 3, rows=rows(rank), **options).epoch(1)) for rank in (0, 1)]
    assert [len(y) for _, _, y in shares[0]] == [1, 1, 0]  # of batches of 3, 3 and 1
    for batch, *parts in zip(whole, *shares, strict=True):
        for found, wanted in zip(map(torch.cat, zip(*parts, strict=True)), batch, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named_while_training(stream, workers):
    tree, _ = stream
    path = Path(tree.describe(4))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=f"^{path}: is not an intact image file.*; replace or remove it$"):
        list(make(tree, workers=workers).epoch(0))


# --- settings that cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"augmentation": "mirror"}, "augmentation must be one of none, crop_flip, resized_crop_flip"),
        ({"augmentation": "resized_crop_flip"}, "needs a streaming dataset"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        list(make(split(), **settings).epoch(0))


@pytest.mark.parametrize("epoch", [-1, 2**32])
def test_impossible_epochs_are_refused(epoch):
    with pytest.raises(ValueError, match=r"epoch must be in"):
        list(make(split()).epoch(epoch))


def test_a_negative_number_of_workers_is_refused(stream):
    with pytest.raises(ValueError, match="workers must be at least 0"):
        make(stream[0], workers=-1)


def test_batches_and_opened_splits_need_no_torchvision(tmp_path):
    code = (
        "import sys, numpy as np; from certflow.data import cache; from certflow.data.batches import batches\n"
        "from certflow.data.base import DataInfo; from certflow.data.splits import ArraySplit\n"
        "split, info = ArraySplit(np.zeros((9, 1, 4, 4), np.uint8), np.arange(9), 'x'), DataInfo(9, (1, 4, 4))\n"
        "split = cache.load(cache.store(split, info), info, 'x', None, None)\n"
        "list(batches(split, device='cpu', batch=4, seed=0, augmentation='crop_flip').epoch(0))\n"
        "assert not {'torchvision', 'torch._dynamo', 'sklearn', 'scipy'} & set(sys.modules), 'too many imports'"
    )
    environment = {**os.environ, "CERTFLOW_CACHE": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], env=environment, timeout=120
    )


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_a_gpu_gives_the_same_batches(augmentation):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    source = split()
    loaders = [batches(source, device=d, batch=8, seed=3, augmentation=augmentation) for d in ("cpu", "cuda")]
    for a, b in zip(loaders[0].epoch(1), loaders[1].epoch(1), strict=True):
        assert all(y.device.type == "cuda" and torch.equal(x, y.cpu()) for x, y in zip(a, b, strict=True))
