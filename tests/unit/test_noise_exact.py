"""Gaussian noise in whole grey levels: its law against 80-digit arithmetic, and three implementations against each other."""

import math
import warnings

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

import certflow.noise.steps as module
from certflow.noise import Gaussian, grid, philox
from certflow.noise.base import AdditiveNoise, Key
from certflow.noise.fast import native
from certflow.noise.splitting import MOST_CUTS
from certflow.noise.splitting import thresholds as places
from certflow.noise.steps import HIGH_STREAM, LOW_BITS, _searched, steps

SEED = 0x0123456789ABCDEF
SIGMAS = [0.12, 0.25, 0.5, 1.0]
THRESHOLDS = {
    0.12: (276, 87556072406456544, 2275782311964042984, 2335903706463344919, 4524129946020931359),
    0.25: (574, 736052847784277968, 2291413380394810865, 2320272638032577038, 3875633170643109935),
    0.5: (1148, 1426063370862648304, 2298628139327088525, 2313057879100299378, 3185622647564739599),
    1.0: (2295, 1852388868512395332, 2302235567335685764, 2309450451091702139, 2759297149914992571),
}
"""sigma → K and T of -64, -1, 0, 63, from 80-digit arithmetic."""
LEVELS = [
    ((3072, 7, 3, 1), 0.25, (-79, 2, -168, -104, -10, 61)),
    ((784, 0, 0, 0), 0.5, (61, -121, -35, 33, 52, -188)),
    ((3072, 9999, 99999, 2), 1.0, (16, -509, -215, -21, -17, -256)),
]
"""(d, image, draw, stream), sigma → elements 0, 1, d/4, d/2, 3d/4, d - 1, from the definition in Python's integers."""


def masses(sigma: float) -> np.ndarray:
    """Probabilities of -K, ..., K, in units of 2**-62, as Python integers."""
    return np.diff(np.array([0, *map(int, grid.thresholds(sigma)), 1 << grid.BITS], object))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_thresholds_are_those_of_longer_arithmetic(sigma):
    reach, *wanted = THRESHOLDS[sigma]
    found = grid.thresholds(sigma)
    assert grid.reach(sigma) == reach and found.shape == (2 * reach,)
    assert [int(found[i + reach]) for i in (-64, -1, 0, 63)] == wanted


@pytest.mark.parametrize("sigma", SIGMAS)
def test_thresholds_are_symmetric_and_increase(sigma):
    found = [int(value) for value in grid.thresholds(sigma)]
    assert found == sorted(found) and found[0] >= 0 and found[-1] < 1 << 62
    assert {a + b for a, b in zip(found, reversed(found), strict=True)} <= {1 << 62, (1 << 62) - 1}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_masses_are_those_of_the_rounded_gaussian(sigma):
    levels = np.arange(-grid.reach(sigma), grid.reach(sigma) + 1)
    ideal = special.ndtr((levels + 0.5) / (255 * sigma)) - special.ndtr((levels - 0.5) / (255 * sigma))
    np.testing.assert_allclose(masses(sigma).astype(float) / 2.0**62, ideal, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sigma", [0.12, 0.5])
def test_distance_covers_the_masses_in_long_arithmetic(sigma):
    """The true total variation distance of one coordinate is at most the stated one; that one is at most 4 times as large."""
    with mpmath.workdps(50):
        width, reach = 255 * mpmath.mpf(str(sigma)), grid.reach(sigma)
        edges = [mpmath.ncdf((i + mpmath.mpf(0.5)) / width) for i in range(-reach - 1, reach + 1)]
        ideal = [b - a for a, b in zip(edges[:-1], edges[1:], strict=True)]
        drawn = [mpmath.mpf(mass) / 2**62 for mass in masses(sigma)]
        apart = sum(abs(a - b) for a, b in zip(drawn, ideal, strict=True)) + edges[0] + (1 - edges[-1])
        assert apart / 2 <= grid.distance(sigma, 1) <= 2 * apart


@pytest.mark.parametrize("sigma", [0.002, 0.25, 1.0])
def test_the_distance_is_that_of_all_thresholds_and_of_both_tails(sigma):
    """dim (2K + 1) 2^-63 for the thresholds and 2 dim Phi(-(K + 1/2) / (255 sigma)), and a little more; not one of them."""
    with mpmath.workdps(40):
        reach = grid.reach(sigma)
        tails = mpmath.erfc((reach + mpmath.mpf(0.5)) / (255 * mpmath.mpf(str(sigma)) * mpmath.sqrt(2)))
        for dim in (1, 3072):
            wanted = dim * ((2 * reach + 1) * mpmath.mpf(2) ** -63 + tails)
            assert 0.9e-9 < mpmath.mpf(grid.distance(sigma, dim)) / wanted - 1 < 1.1e-9
    with pytest.raises(ValueError, match="dim: must be at least 1, got 0"):
        grid.distance(sigma, 0)


@pytest.mark.parametrize(
    ("sigma", "cifar", "imagenet"), [(0.25, 3.8e-13, 1.9e-11), (0.5, 7.7e-13, 3.8e-11), (1.0, 1.5e-12, 7.5e-11)]
)
def test_distances_of_usual_images(sigma, cifar, imagenet):
    assert Gaussian(sigma=sigma).distance(3072) == pytest.approx(cifar, rel=0.02)
    assert Gaussian(sigma=sigma).distance(150_528) == pytest.approx(imagenet, rel=0.02)


def drawn(d, image, draw, sigma, stream=1, seed=SEED):
    return steps(d, Key(torch.as_tensor(image), torch.as_tensor(draw), seed=seed, stream=stream), sigma=sigma)


@pytest.fixture(params=["C", "torch"])
def engine(request, monkeypatch):
    """Draws by the C function, and by torch's operations."""
    if request.param == "torch":
        monkeypatch.setattr(native, "_library", lambda: None)
    elif not native.available():
        pytest.skip("no C compiler")


@pytest.mark.parametrize(("row", "sigma", "wanted"), LEVELS)
def test_known_answers(row, sigma, wanted, engine):
    d, image, draw, stream = row
    found = drawn(d, [image], [draw], sigma, stream)[0]
    assert found.dtype == torch.int16 and found.shape == (d,)
    assert [int(found[e]) for e in (0, 1, d // 4, d // 2, 3 * d // 4, d - 1)] == list(wanted)


@pytest.mark.parametrize("d", [1, 2, 5, 63, 785, 1028])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_table_and_search_agree(d, sigma, engine):
    image, draw = torch.tensor([0, 1, 2**32 - 1, 77, 9999]), torch.tensor([99_999, 0, 3, 2**32 - 1, 12])
    searched = _searched(-(-d // 4), Key(image, draw, seed=SEED, stream=1), (grid.thresholds, sigma)).flatten(1)[:, :d]
    assert torch.equal(drawn(d, image, draw, sigma).long(), searched)


def test_values_that_need_their_second_word_agree(engine):
    """One value in a million has the leading word of a threshold at sigma 1: one each in these draws."""
    image, draw = torch.full((63,), 5), torch.tensor([1125, 1151, 1387, *range(60)])
    words = torch.stack(philox._words(768, Key(image, draw, seed=SEED, stream=1 + HIGH_STREAM)), 1).flatten(1)
    leading = torch.from_numpy(grid.thresholds(1.0) >> LOW_BITS)
    assert torch.isin(words, leading).sum(1)[:3].tolist() == [1, 1, 1]
    assert torch.equal(
        drawn(3072, image, draw, 1.0).long(),
        _searched(768, Key(image, draw, seed=SEED, stream=1), (grid.thresholds, 1.0)).flatten(1),
    )


def test_the_second_word_decides_between_neighbours(monkeypatch, engine):
    """With a threshold placed inside the first value's leading word, on either side of the value itself."""
    image = draw = torch.zeros(1, dtype=torch.int64)
    high, low = (
        int(philox._words(1, Key(image, draw, seed=SEED, stream=1 + s))[0])
        for s in (HIGH_STREAM, HIGH_STREAM + (1 << 30))
    )
    u = (high << 30) | (low >> 2)
    for offset, wanted in ((0, 1), (1, 0), (-1, 1)):
        limits = np.array([u + offset, (1 << 62) - 1], np.int64)
        tables = (limits, *_cells_of(limits))
        monkeypatch.setattr(module, "_tables", lambda *_, t=tables: tuple(map(torch.from_numpy, t)))
        assert int(drawn(1, image, draw, 0.25)) == wanted - 1


LAWS = [(grid.thresholds, 0.25), (grid.thresholds, 1.0), (places, 2), (places, 7), (places, MOST_CUTS)]


@pytest.mark.parametrize("thresholds, argument", LAWS)
def test_what_the_index_tells_of_a_value_is_true_whatever_its_other_bits_are(thresholds, argument):
    """At both ends of every cell and beside every threshold. Only cells with several thresholds are searched."""
    limits = thresholds(argument)
    (start, high), leading, width = grid.index_thresholds(limits), limits >> LOW_BITS, 1 << (32 - grid.CELL_BITS)
    first = np.arange(1 << grid.CELL_BITS) * width
    word = np.concatenate([first, first + width - 1, leading, leading - 1, leading + 1]).clip(0, (1 << 32) - 1)
    cell = word // width
    told = (start[cell] >= 0) & (word != high[cell])
    for rest in (0, (1 << LOW_BITS) - 1):
        count = np.searchsorted(limits, (word << LOW_BITS) + rest, side="right")
        np.testing.assert_array_equal((start[cell] + (word > high[cell]))[told], count[told])
    held = np.histogram(leading, np.append(first, 1 << 32))[0]
    np.testing.assert_array_equal(start >= 0, held < 2)


@pytest.mark.parametrize("thresholds, argument", LAWS)
def test_second_words_decide_at_every_threshold_and_nowhere_else(thresholds, argument):
    """The first and the last threshold, and what lies beyond them, too."""
    limits = torch.from_numpy(thresholds(argument))
    word = torch.cat([limits >> LOW_BITS, torch.tensor([0, 2**32 - 1])])
    group, lane, rest = torch.arange(len(word)), torch.arange(len(word)) % 4, torch.ones(len(word), dtype=torch.int64)
    counter = (group, rest, rest, rest)
    halves = SEED & philox.MASK, SEED >> 32
    low = torch.stack(philox.philox(counter, halves))[lane, group]
    wanted = torch.bucketize((word << LOW_BITS) | (low >> 2), limits, right=True)
    assert torch.equal(module._compared(word, lane, counter, limits, halves), wanted)


def _cells_of(limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells in which every value is searched for."""
    return np.full(1 << grid.CELL_BITS, -1, np.int32), np.zeros(1 << grid.CELL_BITS, np.int32)


@pytest.mark.statistical
@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_ten_million_values_follow_the_law(sigma):
    """Mean 0 within 4 standard errors, which a shift by one level exceeds ten times; frequencies by the chi-square test."""
    levels = drawn(4000, np.full(2500, 11), np.arange(2500), sigma).flatten().long()
    total, reach = levels.numel(), grid.reach(sigma)
    assert abs(float(levels.double().mean())) < 4 * 255 * sigma / math.sqrt(total)
    found = torch.bincount(levels + reach, minlength=2 * reach + 1).numpy()
    expected = masses(sigma).astype(float) / 2.0**62 * total
    inside = expected >= 20
    pooled = [np.array([*values[inside], values[~inside].sum()]) for values in (found, expected)]
    assert stats.chisquare(*pooled).pvalue > 1e-6


def test_a_row_does_not_depend_on_its_company(engine):
    image, draw = torch.tensor([4, 9, 4]), torch.tensor([0, 1, 2])
    whole = drawn(3072, image, draw, 0.5)
    for row in range(3):
        assert torch.equal(drawn(3072, image[row : row + 1], draw[row : row + 1], 0.5)[0], whole[row])
    assert torch.equal(drawn(3072, image.flip(0), draw.flip(0), 0.5), whole.flip(0))


def test_streams_seeds_images_and_draws_differ():
    rows = [drawn(64, [i], [j], 0.5, s, seed) for i in (0, 1) for j in (0, 1) for s in (0, 1) for seed in (0, 1)]
    assert len({row.numpy().tobytes() for row in rows}) == 16


def test_the_noise_entry_draws_them_in_the_shape_of_images():
    noise, image, draw = Gaussian(sigma=0.5), torch.tensor([3, 3]), torch.tensor([0, 1])
    found = noise.steps((3, 5, 7), Key(image, draw, seed=9, stream=1))
    assert found.shape == (2, 3, 5, 7) and found.dtype == torch.int16
    assert torch.equal(found.flatten(1), drawn(105, image, draw, 0.5, seed=9))


def test_noise_without_an_exact_form_is_refused_by_name():
    class Other(AdditiveNoise):
        kind: str = "other"

    noise = Other(sigma=0.5)
    assert noise.exact_problems() == ["noise of kind other has no exact form; use `arithmetic: float`"]
    with pytest.raises(ValueError, match="kind other has no exact form"):
        noise.steps((1, 2, 2), Key(None, None, seed=0, stream=0))
    with pytest.raises(ValueError, match="kind other has no exact form"):
        noise.distance(4)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 14.5, math.nan, math.inf])
def test_sigma_has_its_range(sigma):
    with pytest.raises(ValueError, match="sigma: exact noise needs it above 0 and at most 14"):
        grid.reach(sigma)


def test_a_large_sigma_is_a_problem_before_anything_is_drawn():
    assert Gaussian(sigma=14.0).exact_problems() == [] and grid.reach(14.0) == 9 * 255 * 14
    (problem,) = Gaussian(sigma=14.5).exact_problems()
    assert "up to sigma 14, got 14.5" in problem


def test_code_traced_by_the_compiler_gives_the_same_levels():
    image, draw = torch.tensor([7, 0, 2**32 - 1]), torch.tensor([3, 0, 2**32 - 1])
    expected = drawn(18, image, draw, 0.5)
    traced = torch.compile(
        lambda i, j: steps(18, Key(i, j, seed=SEED, stream=1), sigma=0.5), backend="eager", fullgraph=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        assert torch.equal(traced(image, draw), expected)


@pytest.mark.gpu
def test_cuda_gives_the_same_levels():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    image, draw = torch.arange(64), torch.arange(64) * 1001
    for sigma in SIGMAS:
        found = drawn(3072, image.cuda(), draw.cuda(), sigma).cpu()
        assert torch.equal(found, drawn(3072, image, draw, sigma))
